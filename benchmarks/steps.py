"""Compare samplers, numbers of steps and intervals of guidance: ``python -m benchmarks.steps``.

Synthetic clips that no training sees are given new sound along the envelope of their true sound, with their frames and
the words for what is struck, by every combination. A distilled model needs one evaluation a step; others need two in
the interval of guidance, and one outside. Prints a Markdown table of means over the clips, with 95 % intervals.
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from torch import Tensor
from tqdm import tqdm

from benchmarks.control import DURATION_S, Clip, held_out, interval
from benchmarks.sounds import f1_within_100_ms, onset_times_s, pre_echo_db
from benchmarks.tools import table
from common.choices import SAMPLERS
from common.errors import InputError, user_errors
from common.options import add_checkpoint, add_clips, command_parser
from evaluation.levels import rms_correlation
from evaluation.spectra import log_mel_distance_db
from stable_foley.checkpoint import BUNDLED
from stable_foley.generator import Prompts, SoundGenerator
from stable_foley.sampler import SamplerSettings, polyexponential_sigmas
from synthetic import SAMPLE_RATE_HZ
from video2rms.predict import load_video2rms

INTERVALS = {"everywhere": (0.0, 1e5), "0.3 to 10": (0.3, 10.0), "nowhere": (1e5, 1e5)}
"""Noise-to-signal ratios with guidance, by name."""
MEASURES = ("onset F1", "RMS correlation", "log-mel distance (dB)", "level before hits (dB)")


def n_evaluations(settings: SamplerSettings, *, is_distilled: bool) -> int:
    """Return the evaluations of the network for one window."""
    sigmas = polyexponential_sigmas(settings.n_steps, settings.sigma_min, settings.sigma_max)[:-1]
    n_guided = sum(settings.cfg_scale_at(float(sigma)) != 1 for sigma in sigmas)
    return settings.n_steps + (0 if is_distilled else n_guided)


def measure(clip: Clip, sound: Tensor) -> tuple[float, ...]:
    """Return the values of ``MEASURES`` for a generated sound (C, N)."""
    true, made = (wave.mean(dim=0).numpy() for wave in (clip.wave, sound))
    return (
        f1_within_100_ms(onset_times_s(clip.wave), onset_times_s(sound)),
        float(rms_correlation(sound, clip.wave, SAMPLE_RATE_HZ)),
        log_mel_distance_db(made, true, SAMPLE_RATE_HZ),
        float(np.median(pre_echo_db(sound, clip.hits_s) or np.nan)),
    )


def cell(values: Sequence[float]) -> str:
    """Return the mean of the values that are numbers, with its interval."""
    known = [value for value in values if np.isfinite(value)]
    ends = interval(known) if known else None
    mean = f"{np.mean(known):.3g}" if known else ""
    return mean if ends is None else f"{mean} ({ends[0]:.3g} to {ends[1]:.3g})"


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = command_parser("python -m benchmarks.steps", __doc__)
    add_checkpoint(parser, "exp=mini_controlnet", default=BUNDLED)
    add_clips(parser, default=24, least=2)
    parser.add_argument(
        "--steps", type=int, nargs="+", default=[4, 8, 16], metavar="N", help="numbers of steps (default: 4 8 16)"
    )
    args = parser.parse_args(arguments)
    generator = SoundGenerator.from_checkpoint(args.checkpoint)
    is_distilled = generator.model.guidance is not None
    if not generator.reads_frames or generator.spec.sample_rate_hz != SAMPLE_RATE_HZ:
        raise InputError(f"--checkpoint {args.checkpoint} reads no frames: give one of exp=mini_controlnet")
    changes = [
        {"name": sampler, "n_steps": n_steps, "cfg_interval": INTERVALS[name]}
        for n_steps, sampler, name in product(args.steps, SAMPLERS, INTERVALS)
    ]
    ways = [replace(generator.settings, **each) for each in changes]
    video2rms = load_video2rms()
    with tempfile.TemporaryDirectory() as folder:
        numbers = tqdm(range(args.clips), desc="rendering", unit="clip")
        clips = [held_out(number, generator, video2rms, Path(folder)) for number in numbers]
    names = {value: name for name, value in INTERVALS.items()}
    rows = []
    for settings in tqdm(ways, desc="sampling", unit="way"):
        found = []
        for clip in clips:
            options = {"frames": clip.frames, "prompts": Prompts(clip.label), "settings": settings}
            found.append(measure(clip, generator.generate(clip.envelope, DURATION_S, **options)))
        cost = n_evaluations(settings, is_distilled=is_distilled)
        guided = names[settings.cfg_interval]
        rows.append((settings.n_steps, settings.name, guided, cost, *(map(cell, zip(*found, strict=True)))))
    sys.stdout.write(table(["steps", "sampler", "guidance", "evaluations", *MEASURES], rows))


if __name__ == "__main__":
    main()
