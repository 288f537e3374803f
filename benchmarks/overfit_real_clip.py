"""Overfit the small model to one recording: ``python -m benchmarks.overfit_real_clip --root FOLDER``.

Measures how the model's sound follows the envelope. First the transformer alone learns the recording's sound, then,
frozen, it gets a control branch; both see endless remixes of the recording, so that timing and loudness can only come
from the envelope. Then the recording's own envelope, the same a second later, and the same with silence from 5 s on
drive the generation.

FOLDER holds a clip in the processed layout (or a video with sound and its annotation). Training is resumed where it was
interrupted. Prints a Markdown table; sounds and pictures stay in ``--output-dir``.
"""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.sounds import f1_within_100_ms, level_db, onset_times_s, shifted, silenced
from benchmarks.tools import table
from common.errors import InputError, user_errors
from common.options import add_batch_size, add_output_dir, add_root, command_parser
from data.greatest_hits import SourceClip, list_clips
from evaluation.levels import e_l1_video_foley, rms_correlation
from evaluation.onsets import WINDOW_S, match_onsets
from media.envelope import Envelope, fine_envelope, write_envelope_csv
from media.reading import read_sound

REPOSITORY = Path(__file__).resolve().parent.parent
SAMPLE_RATE_HZ = 44_100
SHIFT_S = 1.0
SILENT_FROM_S = 5.0
N_SEEDS = 3
EPOCH_STEPS = 50  # a validation and a checkpoint


@dataclass(frozen=True)
class Settings:
    """Sizes of the two trainings."""

    root: Path
    output_dir: Path
    backbone_steps: int
    control_steps: int
    batch_size: int
    precision: str


def start(command: list[str]) -> None:
    """Run one of the project's commands; end as it ends where it fails."""
    status = subprocess.run(command, cwd=REPOSITORY, check=False).returncode
    if status:
        raise SystemExit(status)


def train(settings: Settings, tag: str, n_steps: int, *overrides: str) -> Path:
    """Run train.py, resuming where it was interrupted; returns its best checkpoint."""
    run = settings.output_dir / tag
    finished = run / "finished"
    best, last = (run / "checkpoints" / name for name in ("best.safetensors", "last.ckpt"))
    if finished.exists():
        return best
    command = [sys.executable, "train.py", *overrides, "dataset=remix", "trainer=cpu"]
    command += [f"tag={tag}", f"paths.runs={settings.output_dir}", f"paths.greatest_hits={settings.root}"]
    command += [f"trainer.precision={settings.precision}", f"trainer.max_steps={n_steps}", "logger=tensorboard"]
    n_samples = EPOCH_STEPS * settings.batch_size
    command += [f"dataset.batch_size={settings.batch_size}", f"dataset.samples_per_epoch={n_samples}"]
    command += [f"ckpt={last}"] if last.exists() else []
    start(command)
    finished.touch()
    return best


def generate(settings: Settings, checkpoint: Path, clip_dir: Path, name: str, envelope: Envelope) -> list[Tensor]:
    """Run infer.py with an envelope; returns the sounds (C, N) of the seeds from 0 on."""
    folder = settings.output_dir / "sounds" / name
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier measurement
    csv = folder / "given.csv"
    write_envelope_csv(csv, envelope)
    command = [sys.executable, "infer.py", "--video", clip_dir, "--checkpoint", checkpoint, "--envelope", csv]
    command += ["--output-dir", folder, "--num-samples", N_SEEDS, "--sampler", "dpmpp-3m-sde", "--steps", 50]
    start([str(word) for word in command])
    return [read_sound(wav, sample_rate_hz=SAMPLE_RATE_HZ) for wav in sorted(folder.glob("*.wav"))]


def measure(settings: Settings, clip: SourceClip, checkpoint: Path) -> dict[str, list[float]]:
    """Generate with the three envelopes and compare; a value for each seed."""
    clip_dir = clip.video_path or clip.sound_path.parent.parent
    truth = read_sound(clip.sound_path, sample_rate_hz=SAMPLE_RATE_HZ, duration_s=clip.duration_s)
    truth = truth / truth.abs().amax()
    envelope = fine_envelope(truth, SAMPLE_RATE_HZ)
    hits_s = np.array([hit.time_s for hit in clip.hits])
    own = generate(settings, checkpoint, clip_dir, "own", envelope)
    later = generate(settings, checkpoint, clip_dir, "later", shifted(envelope, SHIFT_S))
    muted = generate(settings, checkpoint, clip_dir, "muted", silenced(envelope, SILENT_FROM_S))
    shifts = [compare_onsets(a, b, clip.duration_s) for a, b in zip(own, later, strict=True)]
    drops_db = [level_db(a, SILENT_FROM_S) - level_db(b, SILENT_FROM_S) for a, b in zip(own, muted, strict=True)]
    return {
        "onset F1 against the annotation, real sound": [f1_within_100_ms(hits_s, onset_times_s(truth))],
        "onset F1 against the annotation, generated": [f1_within_100_ms(hits_s, onset_times_s(sound)) for sound in own],
        "RMS correlation with the real sound": [float(rms_correlation(sound, truth, SAMPLE_RATE_HZ)) for sound in own],
        "E-L1 (16 kHz, 512/128)": [float(e_l1_video_foley(sound, truth, SAMPLE_RATE_HZ)) for sound in own],
        "envelope 1 s later: onset F1 against the onsets 1 s later": [f1 for f1, _ in shifts],
        "envelope 1 s later: median shift of the onsets (s)": [shift_s for _, shift_s in shifts],
        "envelope silent from 5 s: level drop there (dB)": drops_db,
    }


def compare_onsets(own: Tensor, later: Tensor, duration_s: float) -> tuple[float, float]:
    """F1 of the later sound's onsets against the own ones ``SHIFT_S`` later, and their median shift in seconds."""
    own_s, later_s = onset_times_s(own), onset_times_s(later)
    expected_s = own_s[own_s + SHIFT_S < duration_s - WINDOW_S] + SHIFT_S
    shifts_s = [later_s[j] - expected_s[i] + SHIFT_S for i, j in match_onsets(expected_s, later_s)]
    return f1_within_100_ms(expected_s, later_s), float(np.median(shifts_s)) if shifts_s else float("nan")


def run_chain(settings: Settings) -> dict[str, list[float]]:
    """Train both parts, generate, measure; writes metrics.json to the output folder and gives what is in it."""
    clip = list_clips(settings.root)[0]
    start = time.perf_counter()
    for name, n_steps in (("backbone", settings.backbone_steps), ("control", settings.control_steps)):
        if n_steps < 1 or n_steps % EPOCH_STEPS:
            raise InputError(f"{n_steps} {name} steps are not possible; give a multiple of {EPOCH_STEPS}.")
    tag = f"backbone-{settings.backbone_steps}"
    backbone = train(settings, tag, settings.backbone_steps, "exp=train_backbone", "training=mini")
    control = ("exp=train_gh_controlnet", "training=mini_control", "backbone=mini", f"backbone.weights={backbone}")
    checkpoint = train(settings, f"{tag}-control-{settings.control_steps}", settings.control_steps, *control)
    minutes = (time.perf_counter() - start) / 60
    results = measure(settings, clip, checkpoint) | {"minutes of training in this call": [minutes]}
    (settings.output_dir / "metrics.json").write_text(json.dumps(results, indent=2) + "\n")
    return results


@user_errors()
def main(arguments: list[str] | None = None) -> None:
    """Train, generate, measure, print."""
    parser = command_parser("python -m benchmarks.overfit_real_clip", __doc__)
    add_root(parser, help="folder with one clip of Greatest Hits, processed or raw")
    add_output_dir(parser, "runs/overfit")
    for part, default in (("backbone", 1500), ("control", 400)):
        steps = f"training steps of the {part}, a multiple of {EPOCH_STEPS}"
        parser.add_argument(f"--{part}-steps", type=int, metavar="N", default=default, help=steps)
    add_batch_size(parser, default=8)
    precision = "precision of the training; 32-true on a CPU without bfloat16 instructions"
    parser.add_argument("--precision", default="bf16-mixed", help=precision)
    args = parser.parse_args(arguments)
    n_steps = args.backbone_steps, args.control_steps
    settings = Settings(args.root.resolve(), args.output_dir.resolve(), *n_steps, args.batch_size, args.precision)
    results = run_chain(settings)
    rows = [
        (name, f"{np.mean(values):.3f}", ", ".join(f"{each:.3f}" for each in values))
        for name, values in results.items()
    ]
    sys.stdout.write(f"\n{settings.root.name}, {torch.get_num_threads()} threads, {args.precision}\n\n")
    sys.stdout.write(table(["measure", "mean", "of each seed"], rows))


if __name__ == "__main__":
    main()
