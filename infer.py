"""Put sound on a video: ``python infer.py --video FILE``.

Writes NAME.wav, NAME.mp4 (the video with that sound), NAME.envelope.csv, NAME.png and NAME.json to the output folder.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from common.errors import end_on_interrupt

    end_on_interrupt()

import argparse
import logging
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from common.devices import pick_device
from common.errors import InputError, check_range, check_seed, printable, user_errors
from common.files import same_file
from common.stopwatch import Stopwatch
from data.dataset import read_clip_frames
from data.greatest_hits import read_clip
from media.clip import part_duration_s
from media.envelope import Envelope, fine_envelope, read_envelope_csv
from media.reading import probe, read_sound
from stable_foley.backbone import DTYPES
from stable_foley.checkpoint import default_checkpoint
from stable_foley.pipeline import MAX_CONTROL_STRENGTH, FoleyPipeline, Prompts
from stable_foley.results import Section, gain_below_full_scale_db, results_of
from stable_foley.sampler import SAMPLERS, SamplerSettings
from video2rms.model import Video2Rms
from video2rms.predict import BUNDLED_VIDEO2RMS, load_video2rms, predict_envelope

log = logging.getLogger("infer")

MAX_SAMPLES = 1000
MAX_PROMPT_S = 60.0
"""Longer prompts would say no more: the encoders average over their windows of 2 s (CAVP) or 10 s (CLAP)."""
MAX_PEAK = 1000.0
"""Of a sound that is an input, where 1 is full scale; 60 dB above it, as in CSVs."""


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
        help="when and how loud: CSV (time_s,rms; times of the video), or a sound or video whose sound is measured; "
        "None: Video2RMS predicts it from the picture",
    )
    add("--video2rms", type=Path, help="checkpoint of Video2RMS; None: the bundled one")
    add("--prompt", help="words for what it should sound like")
    add(
        "--audio-prompt",
        type=Path,
        nargs="+",
        default=[],
        help="sounds it should be like, averaged; of each the first minute",
    )
    add("--negative-prompt", help="words for what it should not sound like")
    add("--start", type=float, default=0.0, help="seconds into the video")
    add("--duration", type=float, help="seconds; None: to the end of the video")
    add("--steps", type=int, help="sampling steps, at most 1000; None: the checkpoint's")
    add("--cfg", type=float, help="guidance scale, 1 for none; None: the checkpoint's")
    add("--level-match", type=float, help="largest gain towards the envelope, dB, 0 for none; None: the checkpoint's")
    add("--sampler", choices=list(SAMPLERS), help="None: the checkpoint's")
    add("--seed", type=int, default=0, help="of the first sample")
    add("--num-samples", type=int, default=1, help="sounds to make, with seeds counting up")
    add("--control-strength", type=float, default=1.0, help="influence of the envelope, 0 for none, at most 10")
    add(
        "--clip",
        action="store_true",
        help="cut off what exceeds full scale; otherwise the whole sound is made softer until nothing does",
    )
    add("--device", help="cuda, mps or cpu; None: the first of these that is there")
    add("--dtype", choices=list(DTYPES), default="float32", help="of the transformer")
    add("--output-dir", type=Path, default=Path("outputs"), help="where to write")
    add("--set", nargs="+", default=[], metavar="KEY=VALUE", help="changes to the configuration")
    return parser


def check_numbers(args: argparse.Namespace) -> None:
    """Refuse numbers that cannot be used.

    Raises:
        InputError: naming the option.
    """
    check_range("--num-samples", args.num_samples, 1, MAX_SAMPLES, whole=True)
    check_seed(args.seed)
    check_seed(args.seed + args.num_samples - 1, f"--seed {args.seed} --num-samples {args.num_samples}: the last seed")
    check_range("--control-strength", args.control_strength, 0, MAX_CONTROL_STRENGTH)
    SamplerSettings().changed(**sampler_changes(args))


def sampler_changes(args: argparse.Namespace) -> dict[str, Any]:
    """The settings of the sampler that are given, by name; None for those of the checkpoint."""
    return {
        "name": args.sampler,
        "n_steps": args.steps,
        "cfg_scale": args.cfg,
        "level_match_db": args.level_match,
    }


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
        read_envelope_csv(args.envelope, section.duration_s, section.start_s)
    else:
        sounds.append(sound_of(args.envelope))
    for path in sounds:
        info = probe(path)
        if not (info.has_sound and info.duration_s > 0):
            raise InputError(f"{path} holds no sound; give a file with sound.")


def find_envelope(
    args: argparse.Namespace, section: Section, pipeline: FoleyPipeline, video2rms: Video2Rms | None, watch: Stopwatch
) -> tuple[Envelope, Envelope]:
    """The envelope that controls the model, predicted or read, and the same as it is written to the CSV."""
    if video2rms is None:
        control, envelope = read_envelope(args.envelope, section, pipeline)
    else:
        assert section.clip.video_path is not None
        found = predict_envelope(
            video2rms,
            section.clip.video_path,
            start_s=section.start_s,
            duration_s=section.duration_s,
            progress=True,
            watch=watch,
        )
        control = envelope = found.envelope
    if not envelope.rms.any():
        source = args.envelope or f"the picture of {args.video}"
        log.warning("the envelope of %s is zero throughout: the model is asked for silence", printable(source))
    return control, envelope


def read_envelope(path: Path, section: Section, pipeline: FoleyPipeline) -> tuple[Envelope, Envelope]:
    """The envelope that controls the model, and the same as it is written to the CSV.

    The times of a CSV are those of the video, and the video itself is heard in the section; another sound starts where
    the section starts.
    """
    if is_csv(path):
        envelope = read_envelope_csv(path, section.duration_s, section.start_s)
        warn_if_shorter(path, section.start_s, envelope.duration_s, section)
        return envelope, envelope
    sound_path = sound_of(path)
    own = same_file(sound_path, section.clip.sound_path)
    rate_hz = pipeline.sample_rate_hz
    start_s = section.start_s if own else 0.0
    warn_if_shorter(path, start_s, probe(sound_path).duration_s - start_s, section)
    sound = read_sound(sound_path, sample_rate_hz=rate_hz, start_s=start_s, duration_s=section.duration_s)
    check_range(f"{path}: a peak of", float(sound.abs().max()), 0, MAX_PEAK)
    return pipeline.measure(sound), fine_envelope(sound, rate_hz)


def warn_if_shorter(path: Path, start_s: float, duration_s: float, section: Section) -> None:
    """Say that an envelope is padded, and when it ends in its file."""
    if duration_s < section.duration_s - 0.1:
        log.warning("%s ends after %.2f s; silence follows", printable(path), start_s + duration_s)


def read_prompt(path: Path, sample_rate_hz: int) -> Tensor:
    """A sound (C, N) to be like, of a minute at most.

    Raises:
        InputError: it cannot be read, is silent, or far above full scale.
    """
    is_long = probe(path).duration_s > MAX_PROMPT_S
    if is_long:
        log.info("%s: the first %.0f s are the prompt", printable(path), MAX_PROMPT_S)
    sound = read_sound(path, sample_rate_hz=sample_rate_hz, duration_s=MAX_PROMPT_S if is_long else None)
    if not sound.any():
        part = f"in its first {MAX_PROMPT_S:.0f} s" if is_long else ""
        raise InputError(f"--audio-prompt {path} is silent {part}".rstrip() + "; give a sound that can be heard.")
    check_range(f"--audio-prompt {path}: a peak of", float(sound.abs().max()), 0, MAX_PEAK)
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


def run(args: argparse.Namespace) -> None:
    """Read, generate, write, and say how long each stage took.

    Raises:
        InputError: an option or a file does not fit.
    """
    check_numbers(args)
    watch = Stopwatch()
    section = select_section(args)
    inputs = [path for path in (args.video, args.envelope, args.checkpoint, args.video2rms) if path is not None]
    inputs += args.audio_prompt
    results = results_of(args.output_dir, section, args.video, args.num_samples, args.envelope, inputs)
    check_sounds(args, section)
    with watch.stage("model"):
        video2rms = None
        if args.envelope is None:
            args.video2rms = args.video2rms or BUNDLED_VIDEO2RMS  # which the record names
            video2rms = load_video2rms(args.video2rms, pick_device(args.device))
        args.checkpoint = args.checkpoint or default_checkpoint(args.set)
        pipeline = FoleyPipeline.from_checkpoint(args.checkpoint, args.device, args.dtype, args.set)
    settings = pipeline.settings.changed(**sampler_changes(args))
    with watch.stage("envelope"):
        control, envelope = find_envelope(args, section, pipeline, video2rms, watch)
    with watch.stage("frames"):
        frames = read_frames(section, pipeline)
    sounds = [read_prompt(path, pipeline.sample_rate_hz) for path in args.audio_prompt]
    prompts = Prompts(args.prompt, sounds, args.negative_prompt)
    for seed, result in enumerate(results, start=args.seed):
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
        gain_db, n_clipped = fit_to_full_scale(sound, clip=args.clip)
        record = vars(args) | {
            "duration": section.duration_s,
            "seed": seed,
            "sampler_settings": asdict(settings),
            "sample_rate_hz": pipeline.sample_rate_hz,
            "gain_db": gain_db,
            "clipped_samples": n_clipped,
            "device": str(pipeline.device),
            "torch": torch.__version__,
        }
        with watch.stage("write"):
            for path in result.write(section, sound * 10 ** (gain_db / 20), envelope, record):
                log.info("wrote %s", printable(path))
    log.info("seconds: %s", watch)


def fit_to_full_scale(sound: Tensor, *, clip: bool) -> tuple[float, int]:
    """Say what happens to a sound that exceeds full scale: the gain in dB it gets, and how many samples are cut off."""
    gain_db = gain_below_full_scale_db(sound)
    if not gain_db:
        return 0.0, 0
    if not clip:
        log.warning("the sound exceeds full scale and is made %.1f dB softer as a whole; see --clip", -gain_db)
        return gain_db, 0
    n_clipped = int((sound.abs() > 1).sum())
    log.warning("%d of %d samples exceed full scale and are cut off", n_clipped, sound.numel())
    return 0.0, n_clipped


@user_errors()
def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run(build_parser().parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
