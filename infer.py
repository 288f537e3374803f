"""Put sound on a video: ``python infer.py --video FILE``.

Writes NAME.wav, NAME.mp4 (the video with that sound), NAME.envelope.csv, NAME.png and NAME.json to the output folder.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from data.errors import end_on_interrupt

    end_on_interrupt()

import argparse
import json
import logging
import math
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from data.clip import part_duration_s
from data.dataset import read_clip_frames
from data.envelope import Envelope, fine_envelope, read_envelope_csv, write_envelope_csv
from data.errors import InputError, user_errors
from data.files import atomic_path, check_writable_folder
from data.greatest_hits import SourceClip, read_clip
from data.media import probe, read_sound
from data.mux import mux, write_video, write_wav
from data.stopwatch import Stopwatch
from stable_foley.backbone import DTYPES
from stable_foley.checkpoint import default_checkpoint
from stable_foley.pipeline import FoleyPipeline, Prompts
from stable_foley.plot import comparison_figure
from stable_foley.sampler import SAMPLERS
from training.devices import pick_device
from video2rms.predict import BUNDLED, predict_envelope
from video2rms.predict import load_model as load_video2rms

log = logging.getLogger("infer")

KINDS = ("wav", "mp4", "envelope.csv", "png", "json")
MAX_SEED = 2**32


@dataclass(frozen=True)
class Section:
    """The part of a video that gets sound: ``duration_s`` from ``start_s`` on."""

    clip: SourceClip
    start_s: float
    duration_s: float


def build_parser() -> argparse.ArgumentParser:
    """All options, with their defaults."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        argument_default=None,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--video", type=Path, required=True, help="video file, or folder of a clip in the processed layout")
    add(
        "--checkpoint",
        type=Path,
        help="best.safetensors or last.ckpt of a training run, or a published .ckpt; None: the bundled mini, or random "
        "weights, to measure, with --set backbone=NAME paths.random_weights=true",
    )
    add(
        "--envelope",
        type=Path,
        help="when and how loud: CSV (time_s,rms), or a sound or video whose sound is measured; None: Video2RMS "
        "predicts it from the picture",
    )
    add("--video2rms", type=Path, help="checkpoint of Video2RMS; None: the bundled one")
    add("--prompt", help="words for what it should sound like")
    add("--audio-prompt", type=Path, nargs="+", default=[], help="sounds it should be like, averaged")
    add("--negative-prompt", help="words for what it should not sound like")
    add("--start", type=float, default=0.0, help="seconds into the video")
    add("--duration", type=float, help="seconds; None: to the end of the video")
    add("--steps", type=int, help="sampling steps; None: the checkpoint's")
    add("--cfg", type=float, help="guidance scale, 1 for none; None: the checkpoint's")
    add("--level-match", type=float, help="largest gain towards the envelope, dB, 0 for none; None: the checkpoint's")
    add("--sampler", choices=list(SAMPLERS), help="None: the checkpoint's")
    add("--seed", type=int, default=0, help="of the first sample")
    add("--num-samples", type=int, default=1, help="sounds to make, with seeds counting up")
    add("--control-strength", type=float, default=1.0, help="influence of the envelope, 0 for none")
    add("--device", help="cuda, mps or cpu; None: the first of these that is there")
    add("--dtype", choices=list(DTYPES), default="float32", help="of the transformer")
    add("--output-dir", type=Path, default=Path("outputs"), help="where to write")
    add("--set", nargs="+", default=[], metavar="KEY=VALUE", help="changes to the configuration")
    return parser


def select_section(args: argparse.Namespace) -> Section:
    """The part of the video that is asked for.

    Raises:
        InputError: it lies outside the video.
    """
    clip = read_clip(args.video)
    return Section(clip, args.start, part_duration_s(args.video, clip.duration_s, args.start, args.duration))


def is_csv(path: Path) -> bool:
    """Whether a path names an envelope as a table, and not a sound."""
    return path.suffix.lower() == ".csv"


def sound_of(path: Path) -> Path:
    """The file with the sound: a sound, a video, or what lies in the folder of a processed clip."""
    return read_clip(path).sound_path if path.is_dir() else path


def warn_if_shorter(path: Path, duration_s: float, section: Section) -> None:
    """Say that an envelope is padded."""
    if duration_s < section.duration_s - 0.1:
        log.warning("%s ends after %.2f s; silence follows", path, duration_s)


def read_envelope(path: Path, section: Section, pipeline: FoleyPipeline) -> tuple[Envelope, Envelope]:
    """The envelope that controls the model, and the same as it is written to the CSV.

    A CSV or another sound starts where the section starts; the video itself is heard in the same section.
    """
    if is_csv(path):
        envelope = read_envelope_csv(path)
        warn_if_shorter(path, envelope.duration_s, section)
        return envelope, envelope
    sound_path = sound_of(path)
    own = sound_path.exists() and sound_path.samefile(section.clip.sound_path)
    rate_hz = pipeline.sample_rate_hz
    start_s = section.start_s if own else 0.0
    warn_if_shorter(path, probe(sound_path).duration_s - start_s, section)
    sound = read_sound(sound_path, sample_rate_hz=rate_hz, start_s=start_s, duration_s=section.duration_s)
    return pipeline.measure(sound), fine_envelope(sound, rate_hz)


def read_prompt(path: Path, sample_rate_hz: int) -> Tensor:
    """A sound (C, N) to be like, which must not be silent."""
    sound = read_sound(path, sample_rate_hz=sample_rate_hz)
    if not sound.any():
        raise InputError(f"--audio-prompt {path} is silent; give a sound that can be heard.")
    return sound


def read_frames(section: Section, pipeline: FoleyPipeline) -> Tensor | None:
    """Frames (T, 3, H, W), float32 in 0..1, if the model looks at them."""
    if not pipeline.reads_frames:
        return None
    frames = read_clip_frames(
        section.clip,
        section.start_s,
        section.duration_s,
        frame_rate_hz=pipeline.spec.frame_rate_hz,
        size_px=pipeline.spec.frame_size_px,
    )
    return frames.float() / 255


def write_muxed(section: Section, sound: Tensor, sample_rate_hz: int, path: Path) -> None:
    """Write the video with the sound at its place; where only jpgs are stored, they make the video."""
    clip = section.clip
    padded = F.pad(sound, (round(section.start_s * sample_rate_hz), 0))
    if clip.video_path is not None:
        mux(clip.video_path, padded, sample_rate_hz, path)
        return
    frames = read_clip_frames(clip, 0.0, clip.duration_s, frame_rate_hz=clip.frames_rate_hz)
    with tempfile.TemporaryDirectory() as folder:
        silent = Path(folder) / "silent.mp4"
        write_video(silent, frames, clip.frames_rate_hz)
        mux(silent, padded, sample_rate_hz, path)


def write_results(
    folder: Path, name: str, section: Section, sound: Tensor, envelope: Envelope, record: dict[str, Any]
) -> Iterable[Path]:
    """Write sound, video, envelope, picture and settings of one sample; yields the files as they are finished."""
    rate_hz = record["sample_rate_hz"]
    wav, mp4, csv, png, settings = (folder / f"{name}.{kind}" for kind in KINDS)
    write_wav(wav, sound, rate_hz)
    yield wav
    write_muxed(section, sound, rate_hz, mp4)
    yield mp4
    write_envelope_csv(csv, envelope)
    yield csv
    with atomic_path(png) as temporary:
        comparison_figure({"sound": sound}, rate_hz, control=envelope).savefig(temporary)
    yield png
    with atomic_path(settings) as temporary:
        temporary.write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")
    yield settings


def sample_names(section: Section, n_samples: int) -> list[str]:
    """Names of the samples: the clip's, numbered from 1 where there are several."""
    clip_id = section.clip.clip_id
    return [clip_id] if n_samples == 1 else [f"{clip_id}_{i + 1}" for i in range(n_samples)]


def check_outputs(args: argparse.Namespace, section: Section) -> None:
    """Refuse, before any work, an output folder that cannot be written and outputs that are inputs.

    Raises:
        InputError: naming the folder or the file.
    """
    check_writable_folder(args.output_dir, "--output-dir")
    given_paths = (args.video, args.envelope, args.checkpoint, args.video2rms, *args.audio_prompt)
    inputs = [path for path in given_paths if path is not None]
    for name in sample_names(section, args.num_samples):
        for path in (args.output_dir / f"{name}.{kind}" for kind in KINDS):
            if any(path.exists() and given.exists() and path.samefile(given) for given in inputs):
                raise InputError(f"{path} would be written over, but is an input; give another --output-dir.")


def check_sounds(args: argparse.Namespace, section: Section) -> None:
    """Refuse, before any work, envelopes and prompts that cannot be read.

    Raises:
        InputError: naming the file.
    """
    sounds = list(args.audio_prompt)
    if None not in (args.envelope, args.video2rms):
        raise InputError("--video2rms predicts an envelope and --envelope gives one; leave out one of them.")
    if args.envelope is None:
        if section.clip.video_path is None:
            raise InputError(
                f"{args.video} has frames too far apart to predict an envelope from; give --envelope FILE, such as "
                f"--envelope {args.video} for that of its own sound."
            )
    elif is_csv(args.envelope):
        read_envelope_csv(args.envelope)
    else:
        sounds.append(sound_of(args.envelope))
    for path in sounds:
        info = probe(path)
        if not (info.has_sound and info.duration_s > 0):
            raise InputError(f"{path} holds no sound; give a file with sound.")


def run(args: argparse.Namespace) -> None:
    """Read, generate, write, and say what took how long.

    Raises:
        InputError: an option or a file does not fit.
    """
    if args.num_samples < 1:
        raise InputError(f"--num-samples {args.num_samples} is not possible; give 1 or more.")
    if not 0 <= args.seed < MAX_SEED:
        raise InputError(f"--seed {args.seed} is not possible; give 0 to {MAX_SEED - 1}.")
    if not 0 <= args.control_strength < math.inf:
        raise InputError(
            f"--control-strength {args.control_strength} is not possible; give a number from 0, 1 is usual."
        )
    watch = Stopwatch()
    section = select_section(args)
    check_outputs(args, section)
    check_sounds(args, section)
    with watch.stage("model"):
        video2rms = None
        if args.envelope is None:
            args.video2rms = args.video2rms or BUNDLED  # which the record names
            video2rms = load_video2rms(args.video2rms, pick_device(args.device))
        args.checkpoint = args.checkpoint or default_checkpoint(args.set)
        pipeline = FoleyPipeline.from_checkpoint(args.checkpoint, args.device, args.dtype, args.set)
    settings = pipeline.settings.changed(
        name=args.sampler, n_steps=args.steps, cfg_scale=args.cfg, level_match_db=args.level_match
    )
    with watch.stage("envelope"):
        if args.envelope is None:
            assert video2rms is not None
            assert section.clip.video_path is not None
            control = envelope = predict_envelope(
                video2rms,
                section.clip.video_path,
                start_s=section.start_s,
                duration_s=section.duration_s,
                progress=True,
                watch=watch,
            ).envelope
        else:
            control, envelope = read_envelope(args.envelope, section, pipeline)
    if not envelope.rms.any():
        source = args.envelope or f"the picture of {args.video}"
        log.warning("the envelope of %s is zero throughout: the model is asked for silence", source)
    with watch.stage("frames"):
        frames = read_frames(section, pipeline)
    sounds = [read_prompt(path, pipeline.sample_rate_hz) for path in args.audio_prompt]
    prompts = Prompts(args.prompt, sounds, args.negative_prompt)
    for i in range(args.num_samples):
        seed = args.seed + i
        record = vars(args) | {
            "duration": section.duration_s,
            "seed": seed,
            "sampler_settings": asdict(settings),
            "sample_rate_hz": pipeline.sample_rate_hz,
            "device": str(pipeline.device),
            "torch": torch.__version__,
        }
        sound = pipeline.generate(
            control,
            section.duration_s,
            frames=frames,
            prompts=prompts,
            settings=settings,
            seed=seed,
            control_strength=args.control_strength,
            progress=partial(tqdm, desc=f"seed {seed}", unit="step"),
            watch=watch,
        )
        name = sample_names(section, args.num_samples)[i]
        with watch.stage("write"):
            for path in write_results(args.output_dir, name, section, sound, envelope, record):
                log.info("wrote %s", path)
    log.info("seconds: %s", watch)


@user_errors()
def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run(build_parser().parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
