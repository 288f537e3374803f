"""Measure videos of other lengths and frame rates than usual: ``python -m benchmarks.lengths``.

Synthetic clips that no training sees are written as silent videos and given sound, from the picture alone and along the
envelope of their true sound. Hits are pooled over the clips of a row, since a clip of half a second may have none.
Prints a Markdown table.
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.control import PEAK
from benchmarks.sounds import onset_times_s
from benchmarks.tools import table
from common.errors import user_errors
from common.options import add_checkpoint, add_number, command_parser
from evaluation.levels import rms_correlation
from evaluation.onsets import WINDOW_S, match_onsets
from media.envelope import fine_envelope
from media.writing import write_video
from stable_foley.checkpoint import BUNDLED
from synthetic import SAMPLE_RATE_HZ, SyntheticSpec, render_clip
from video2audio import FoleyPipeline

SEED = 9_000_011  # of clips that no training configuration uses
ROWS = ((0.1, 30.0, 60), (0.5, 30.0, 40), (1.0, 30.0, 40), (4.0, 30.0, 16), (18.0, 16.0, 4), (61.0, 30.0, 2))
"""Seconds, frames per second, and clips of each row, for ``--share 1``."""
_SHORTEST_S = 2.0  # that is rendered


@dataclass
class Pooled:
    """Counts of hits over several clips: of the reference, found, and both."""

    n_true: int = 0
    n_found: int = 0
    n_matched: int = 0

    def add(self, true_s: np.ndarray, found_s: np.ndarray) -> None:
        """Count the hits of a clip."""
        self.n_true += len(true_s)
        self.n_found += len(found_s)
        self.n_matched += len(match_onsets(true_s, found_s, WINDOW_S))

    def __str__(self) -> str:
        """Return the F1 with its counts."""
        both = self.n_true + self.n_found
        f1 = 2 * self.n_matched / both if both else float("nan")
        return f"{f1:.2f} ({self.n_matched} of {self.n_true}, {self.n_found - self.n_matched} more)"


def measure(pipeline: FoleyPipeline, duration_s: float, rate_hz: float, n_clips: int) -> list[object]:
    """Return a row: length and rate, then what was found."""
    seen, followed, correlations = Pooled(), Pooled(), list[float]()
    for number in tqdm(range(n_clips), desc=f"{duration_s:g} s", unit="clip"):
        frames, wave, strikes_s = cut_clip(duration_s, rate_hz, number)
        with tempfile.TemporaryDirectory() as folder:
            video = Path(folder) / "clip.mp4"
            write_video(video, frames, rate_hz)
            seen.add(strikes_s, _onsets_s(pipeline(video, seed=number).sound))
            along = pipeline(video, envelope=fine_envelope(wave, SAMPLE_RATE_HZ), seed=number).sound
        followed.add(_onsets_s(wave), _onsets_s(along))
        correlation = float(rms_correlation(along, wave, SAMPLE_RATE_HZ))
        if np.isfinite(correlation):
            correlations.append(correlation)
    middle = f"{np.median(correlations):.3f}" if correlations else ""
    return [f"{duration_s:g} s, {rate_hz:g} fps", n_clips, seen, followed, middle]


def cut_clip(duration_s: float, rate_hz: float, number: int) -> tuple[Tensor, Tensor, np.ndarray]:
    """Return frames, sound (C, N) and times of the strikes of a clip; a short one is cut around its first strike."""
    rendered_s = max(duration_s, _SHORTEST_S)
    clip = render_clip(SyntheticSpec(rendered_s, rate_hz, max_offset_s=0.0), SEED, number)
    assert clip.clean is not None
    assert clip.frames is not None
    strikes_s = np.array([strike.time_s for strike in clip.plan.strikes])
    first, n_frames = 0, round(duration_s * rate_hz)
    if duration_s < rendered_s and len(strikes_s):
        first = round((strikes_s[0] - duration_s / 2) * rate_hz)
        first = min(max(0, first), len(clip.frames) - n_frames)
    start_s = first / rate_hz
    start = round(start_s * SAMPLE_RATE_HZ)
    wave = clip.clean[:, start : start + round(duration_s * SAMPLE_RATE_HZ)]
    wave = wave * (PEAK / wave.abs().max().clamp(min=1e-9))
    inside = (strikes_s >= start_s) & (strikes_s < start_s + duration_s)
    return clip.frames[first : first + n_frames], wave, strikes_s[inside] - start_s


def _onsets_s(sound: Tensor) -> np.ndarray:
    """Return the onsets of a sound (C, N); none in silence."""
    return onset_times_s(sound) if torch.any(sound) else np.zeros(0)


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = command_parser("python -m benchmarks.lengths", __doc__)
    add_checkpoint(parser, "exp=mini_controlnet", default=BUNDLED)
    add_number(parser, "--share", 0.01, 10, default=1.0, help="share of the usual number of clips", metavar="SHARE")
    args = parser.parse_args(arguments)
    pipeline = FoleyPipeline.from_checkpoint(args.checkpoint)
    rows = [measure(pipeline, length, rate, max(1, round(args.share * n))) for length, rate, n in ROWS]
    header = ["length", "clips", "picture alone: onset F1 against the strikes (0.1 s)"]
    header += ["true envelope: onset F1, sound with sound (0.1 s)", "true envelope: RMS correlation, median"]
    sys.stdout.write(table(header, rows))


if __name__ == "__main__":
    main()
