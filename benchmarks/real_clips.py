"""Measure the model on real recordings, which no training has seen: ``python -m benchmarks.real_clips``.

``--recording`` is a clip with sound, frames and annotation, in the processed layout. Its true envelope drives the
generation; each half of it is made with the sound of the other half as prompt, so what is asked for is known and
nothing is copied. ``--published-sound`` is what the published model made of the same clip, measured alike. ``--videos``
are given sound from their picture alone, as ``infer.py`` does, and compared with their own sound: onsets, and medians
over hits of attack and peak level. Prints Markdown tables of means over seeds; ``--figure`` draws the clip, the
published model's sound and the first seed's.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.sounds import f1_within_100_ms, onset_times_s, pre_echo_db
from benchmarks.tools import find_videos, table
from common.errors import InputError, user_errors
from common.files import atomic_path, check_writable_folder
from common.options import add_checkpoint, add_level_match, add_num_samples, command_parser
from data.dataset import read_timed_frames
from data.greatest_hits import SourceClip, read_clip
from evaluation.hits import score_hits
from evaluation.levels import e_l1_video_foley, rms_correlation
from media.reading import read_sound
from stable_foley.checkpoint import BUNDLED
from stable_foley.generator import Prompts, SoundGenerator
from stable_foley.plot import comparison_figure
from synthetic import SAMPLE_RATE_HZ
from video2audio import FoleyPipeline, FoleyRequest
from video2rms.predict import load_video2rms

SHAPES = (
    ("attack, recording (ms)", "hit_attack_reference_ms"),
    ("attack, generated (ms)", "hit_attack_generated_ms"),
    ("peak level, recording (dB)", "hit_level_reference_db"),
    ("peak level, generated (dB)", "hit_level_generated_db"),
)
FIGURE_SUFFIXES = (".png", ".jpg", ".webp")
Generate = Callable[[Sequence[Tensor]], Tensor]


def read_truth(clip: SourceClip) -> Tensor:
    """Return the sound (2, N) of a clip, its peak at full scale.

    Raises:
        InputError: It is silent.
    """
    sound = read_own(clip)
    return sound / sound.abs().amax()


def read_own(clip: SourceClip) -> Tensor:
    """Return the sound (2, N) of a clip as it was recorded.

    Raises:
        InputError: It is silent.
    """
    sound = read_sound(clip.sound_path, sample_rate_hz=SAMPLE_RATE_HZ, duration_s=clip.duration_s)
    if not sound.any():
        raise InputError(f"{clip.sound_path} is silent, so nothing can be compared with it: leave it out")
    return sound


def frames_of(clip: SourceClip, pipeline: SoundGenerator) -> Tensor:
    """Return frames (T, 3, H, W) in 0..1, as the model looks at them."""
    rate_hz, size_px = pipeline.spec.frame_rate_hz, pipeline.spec.frame_size_px
    return read_timed_frames(clip, 0.0, clip.duration_s, frame_rate_hz=rate_hz, size_px=size_px).frames.float() / 255


def in_halves(truth: Tensor, generate: Generate) -> Tensor:
    """Return a sound like ``truth`` (C, N), of which each half is generated with the other half as prompt."""
    half = truth.shape[-1] // 2
    first, second = truth[:, :half], truth[:, half:]
    return torch.cat([generate([second])[:, :half], generate([first])[:, half:]], dim=-1)


def compare(sound: Tensor, truth: Tensor, hits_s: np.ndarray) -> dict[str, float]:
    """Return measures of a sound (C, N) by name."""
    levels_db = pre_echo_db(sound, hits_s)
    return {
        "onset F1 against the annotation": f1_within_100_ms(hits_s, onset_times_s(sound)),
        "onset F1, sound with sound": f1_within_100_ms(onset_times_s(truth), onset_times_s(sound)),
        "RMS correlation": float(rms_correlation(sound, truth, SAMPLE_RATE_HZ)),
        "E-L1 (16 kHz)": float(e_l1_video_foley(sound, truth, SAMPLE_RATE_HZ)),
        "level 20 to 5 ms before hits, of their peak (dB)": float(np.median(levels_db or np.nan)),
        "peak": float(sound.abs().amax()),
    }


def generated_along(pipeline: SoundGenerator, clip: SourceClip, truth: Tensor, seeds: range) -> list[Tensor]:
    """Return sounds of a clip along its true envelope, one a seed."""
    frames, envelope = frames_of(clip, pipeline), pipeline.measure(truth)

    def with_seed(seed: int) -> Generate:
        return lambda prompt: pipeline.generate(
            envelope, clip.duration_s, frames=frames, prompts=Prompts(sounds=prompt), seed=seed
        )

    return [in_halves(truth, with_seed(seed)) for seed in seeds]


def measure_video(pipeline: FoleyPipeline, path: Path, truth: Tensor, seeds: range) -> list[dict[str, float]]:
    """Compare new sounds of a video, made from its picture alone, with its own (C, N): measures by name, one a seed."""
    true_s = onset_times_s(truth)
    found = []
    for result in pipeline.results(FoleyRequest(video=path), seeds):
        made_s = onset_times_s(result.sound)
        shapes = score_hits(truth, result.sound, SAMPLE_RATE_HZ, true_s, made_s)
        found.append({"onset F1": f1_within_100_ms(true_s, made_s)} | {name: shapes[key] for name, key in SHAPES})
    return found


def means_of(measured: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each measure over those that are numbers; not a number if none is."""
    means = {}
    for name in measured[0]:
        values = np.array([each[name] for each in measured])
        finite = values[np.isfinite(values)]
        means[name] = float(finite.mean()) if len(finite) else float("nan")
    return means


def check(args: argparse.Namespace) -> None:
    """Refuse, before any work, options that do not go together.

    Raises:
        InputError: naming the option.
    """
    if args.recording is None and args.videos is None:
        raise InputError("there is nothing to measure: give --recording DIR or --videos DIR")
    if args.recording is None and (args.published_sound or args.figure):
        raise InputError("--published-sound and --figure are about one recording: give --recording DIR with them")
    if args.figure and args.figure.suffix not in FIGURE_SUFFIXES:
        raise InputError(f"--figure {args.figure} is no picture: give one of {', '.join(FIGURE_SUFFIXES)}")
    if args.figure:
        check_writable_folder(args.figure.parent, "--figure")


def report_clip(pipeline: SoundGenerator, clip: SourceClip, truth: Tensor, args: argparse.Namespace) -> None:
    """Print the measures of the clip's sounds, and draw them."""
    sounds = {"real": [truth]}
    if args.published_sound:
        sound = read_sound(args.published_sound, sample_rate_hz=SAMPLE_RATE_HZ, duration_s=clip.duration_s)
        sounds["published model"] = [sound]
    sounds["this model"] = generated_along(pipeline, clip, truth, range(args.num_samples))
    hits_s = np.array([hit.time_s for hit in clip.hits])
    measured = {name: [compare(each, truth, hits_s) for each in found] for name, found in sounds.items()}
    rows = [
        (name, *(f"{np.mean([each[name] for each in found]):.4g}" for found in measured.values()))
        for name in measured["real"][0]
    ]
    sys.stdout.write(table([f"{clip.clip_id}, {args.num_samples} seeds", *measured], rows))
    if args.figure:
        shown = {name: found[0] for name, found in sounds.items()}
        figure = comparison_figure(shown, SAMPLE_RATE_HZ, onset_times_s=hits_s.tolist())
        with atomic_path(args.figure) as temporary:
            figure.savefig(temporary)


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, draw."""
    parser = command_parser("python -m benchmarks.real_clips", __doc__)
    add_checkpoint(parser, "exp=mini_controlnet", default=BUNDLED)
    recording = "folder of a clip in the processed layout, with annotation"
    parser.add_argument("--recording", type=Path, metavar="DIR", help=recording)
    parser.add_argument("--published-sound", type=Path, metavar="FILE", help="the published model's sound for it")
    parser.add_argument("--videos", type=Path, metavar="DIR", help="folder of videos with sound")
    figure = "picture to write, .png, .jpg or .webp; needs --recording"
    parser.add_argument("--figure", type=Path, metavar="FILE", help=figure)
    add_num_samples(parser, default=3)
    add_level_match(parser)
    args = parser.parse_args(arguments)
    check(args)
    clip = None if args.recording is None else read_clip(args.recording)
    if clip is not None and not clip.hits:
        raise InputError(f"--recording {args.recording} has no annotated hits: give a clip that has")
    truth = None if clip is None else read_truth(clip)
    if truth is not None and not all(half.any() for half in truth.tensor_split(2, dim=-1)):
        raise InputError(f"--recording {args.recording} is silent in one half, which cannot be a prompt: give another")
    videos = [] if args.videos is None else find_videos(args.videos)
    own = {path: read_own(read_clip(path)) for path in videos}
    pipeline = SoundGenerator.from_checkpoint(args.checkpoint)
    pipeline.settings = pipeline.settings.changed(level_match_db=args.level_match)
    if clip is not None and truth is not None:
        report_clip(pipeline, clip, truth, args)
    if videos:
        whole = FoleyPipeline(pipeline, load_video2rms(), {})
        seeds = range(args.num_samples)
        means = {path.name: means_of(measure_video(whole, path, own[path], seeds)) for path in videos}
        means["mean"] = means_of(list(means.values()))
        header = [f"picture alone, {args.num_samples} seeds, sound with sound", *means["mean"]]
        sys.stdout.write(
            "\n" + table(header, [(name, *(f"{value:.3g}" for value in row.values())) for name, row in means.items()])
        )


if __name__ == "__main__":
    main()
