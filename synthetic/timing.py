"""Times of a film's frames: constant and varying rates, repeated, mixed and interlaced pictures, and how it is read."""

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial

import cv2
import numpy as np
import torch

from media.clip import count_at_rate
from media.frames import FrameGrid
from synthetic.scene import log_uniform, pick

TICK_HZ = 90_000  # resolution of time stamps, as in MPEG
LONGEST_GAP_S = 0.15  # between two frames of a variable rate
RATES_HZ = {
    30.0: 4.0, 30_000 / 1001: 4.0, 25.0: 7.0, 24.0: 2.0, 24_000 / 1001: 1.5, 15.0: 3.5, 16.0: 2.5, 60.0: 2.0,
    60_000 / 1001: 1.5, 50.0: 1.2, 6.0: 0.5, 8.0: 0.8, 10.0: 1.0, 12.0: 1.2, 20.0: 1.0, 48.0: 0.5, 120.0: 0.5,
}  # fmt: skip
"""Constant frame rates with their weights: a choice of this project among those of cinema, television, web cameras,
telephones and old films."""
KINDS = {"constant": 0.62, "random rate": 0.04, "variable": 0.1, "repeated": 0.12, "interlaced": 0.06, "mixed": 0.06}
REPEATED_HZ = ((24.0, 30.0), (16.0, 24.0), (15.0, 30.0), (12.0, 24.0), (25.0, 30.0), (12.0, 25.0))
"""Rates of a camera, and of a file that repeats its pictures."""
_MIXED_HZ = ((24.0, 30.0), (25.0, 30.0), (30.0, 25.0), (50.0, 30.0), (60.0, 24.0), (16.0, 25.0), (18.0, 24.0))
_INTERLACED_HZ = (25.0, 30_000 / 1001)
_SHUTTER_HZ = 30.0  # of cameras from whose films most frames were dropped


@dataclass(frozen=True, eq=False)
class Timing:
    """The frames of a file, each made from one or two pictures of a camera.

    Args:
        kind: One of `KINDS`.
        stamps_s: Time stamps of the frames (F,), in seconds, rising from 0.
        first: Number of the picture that each frame shows (F,).
        second: Number of a second picture (F,), the same if a frame shows only one.
        share: Share of the second picture in a frame (F,), 0 to 1.
        starts_s: Times at which the exposures of the pictures start (P,), in seconds, rising.
        frame_s: Time from one picture of the camera to the next.
        fields: How the two fields of interlaced video are shown: "weave", "bob", or "" if they are mixed or absent.
    """

    kind: str
    stamps_s: np.ndarray
    first: np.ndarray
    second: np.ndarray
    share: np.ndarray
    starts_s: np.ndarray
    frame_s: float
    fields: str = ""

    def only(self, frames: np.ndarray) -> "Timing":
        """Return the timing of some of the frames, given by their numbers in rising order, and of their pictures."""
        kept, numbers = np.unique(np.concatenate([self.first[frames], self.second[frames]]), return_inverse=True)
        first, second = np.split(numbers, 2)
        return replace(
            self,
            stamps_s=self.stamps_s[frames],
            first=first,
            second=second,
            share=self.share[frames],
            starts_s=self.starts_s[kept],
        )

    def frames(self, pictures: np.ndarray) -> np.ndarray:
        """Return the frames (F, 3, H, W) that the file has for the pictures (P, 3, H, W) of the camera, uint8."""
        if not self.fields and not self.share.any():
            return pictures[self.first]
        frames = np.empty((len(self.first), *pictures.shape[1:]), np.uint8)
        for frame, first, second, share in zip(frames, self.first, self.second, self.share.tolist(), strict=True):
            if self.fields == "bob":
                _show_field(pictures[first], int(first) % 2, frame)
            elif self.fields == "weave":
                frame[:, 0::2], frame[:, 1::2] = pictures[first][:, 0::2], pictures[second][:, 1::2]
            else:
                cv2.addWeighted(pictures[first], 1 - share, pictures[second], share, 0, frame)
        return frames


def constant(rate_hz: float, duration_s: float, *, camera_hz: float | None = None, lead: float = 0.0) -> Timing:
    """Return the timing of a file with a constant frame rate.

    Args:
        rate_hz: Frames per second of the file.
        duration_s: Its duration.
        camera_hz: Pictures per second of the camera; a slower camera's pictures are repeated. None: as the file.
        lead: Time by which pictures appear early, in frames of the file, 0 to below 1; 0.5: the nearest frame.
    """
    numbers = np.arange(count_at_rate(duration_s, rate_hz))
    camera_hz = camera_hz or rate_hz
    shown = np.floor((numbers + lead) * camera_hz / rate_hz + 1e-6).astype(int)
    starts_s = np.arange(shown[-1] + 1) / camera_hz
    kind = "constant" if camera_hz == rate_hz else "repeated"
    return Timing(kind, numbers / rate_hz, shown, shown, np.zeros(len(numbers)), starts_s, 1 / camera_hz)


def draw_timing(rng: np.random.Generator, duration_s: float) -> Timing:
    """Draw the timing of a film of that duration."""
    kind = pick(rng, KINDS)
    if kind == "variable":
        return _variable(rng, duration_s)
    if kind == "repeated":
        camera_hz, rate_hz = REPEATED_HZ[int(rng.integers(len(REPEATED_HZ)))]
        return constant(rate_hz, duration_s, camera_hz=camera_hz, lead=float(rng.choice([0.0, 0.5])))
    if kind == "mixed":
        return _mixed(*_MIXED_HZ[int(rng.integers(len(_MIXED_HZ)))], duration_s)
    if kind == "interlaced":
        return _interlaced(rng, duration_s)
    rate_hz = log_uniform(rng, (6.0, 60.0)) if kind == "random rate" else _pick_rate(rng)
    timing = constant(rate_hz, duration_s)
    if rate_hz < 0.8 * _SHUTTER_HZ and rng.random() < 0.5:
        timing = replace(timing, frame_s=1 / _SHUTTER_HZ)
    return replace(timing, kind=kind)


def on_grid(stamps_s: np.ndarray, n_grid: int, grid_hz: float) -> tuple[np.ndarray, torch.Tensor]:
    """Return the frames that a reader shows at T = `n_grid` even times, and their lateness.

    Args:
        stamps_s: Time stamps of the frames of a file (F,), rising from 0.
        n_grid: Number of times.
        grid_hz: Times per second.

    Returns:
        Frame numbers (T,), and grid time minus time stamp in seconds (T,), float32, see `media.frames.FrameWindow`.
    """
    grid = FrameGrid(Fraction(0), grid_hz, n_grid, n_grid)
    for number, tick in enumerate(np.round(stamps_s * TICK_HZ).astype(int).tolist()):
        for _ in grid.add((Fraction(tick, TICK_HZ), partial(torch.tensor, [number]))):
            pass  # the only window is complete at the end
    (window,) = grid.finish(n_grid)
    return window.frames[:, 0].numpy(), window.lateness_s.float()


def _pick_rate(rng: np.random.Generator) -> float:
    rates_hz, weights = list(RATES_HZ), np.array(list(RATES_HZ.values()))
    return float(rng.choice(rates_hz, p=weights / weights.sum()))


def _variable(rng: np.random.Generator, duration_s: float) -> Timing:
    """Return the timing of a telephone's film: uneven intervals, gaps, and another rate from some time on."""
    rates_hz = rng.choice([30.0, 24.0, 20.0, 15.0, 60.0], 2, p=[0.5, 0.1, 0.1, 0.2, 0.1])
    change_s = rng.uniform(0, duration_s) if rng.random() < 0.5 else duration_s
    jitter = float(rng.choice([0.03, 0.15, 0.3]))
    gap_share = float(rng.choice([0.0, 0.02, 0.08]))
    stamps_s, now_s = [], 0.0
    while now_s < duration_s:
        stamps_s.append(now_s)
        interval_s = (1 + jitter * rng.uniform(-1, 1)) / rates_hz[int(now_s >= change_s)]
        now_s += rng.uniform(interval_s, LONGEST_GAP_S) if rng.random() < gap_share else interval_s
    numbers, times_s = np.arange(len(stamps_s)), np.array(stamps_s)
    return Timing("variable", times_s, numbers, numbers, np.zeros(len(numbers)), times_s, 1 / float(max(rates_hz)))


def _mixed(camera_hz: float, rate_hz: float, duration_s: float) -> Timing:
    """Return the timing of a file whose frames mix the two nearest pictures of a camera of another rate."""
    numbers = np.arange(count_at_rate(duration_s, rate_hz))
    place = numbers * camera_hz / rate_hz + 1e-6
    first = np.floor(place).astype(int)
    starts_s = np.arange(first[-1] + 2) / camera_hz
    return Timing("mixed", numbers / rate_hz, first, first + 1, place - first, starts_s, 1 / camera_hz)


def _interlaced(rng: np.random.Generator, duration_s: float) -> Timing:
    """Return the timing of interlaced video: every frame has two fields, of two moments."""
    rate_hz = float(rng.choice(_INTERLACED_HZ))
    how = str(rng.choice(["weave", "mean", "first field", "both fields"], p=[0.25, 0.3, 0.2, 0.25]))
    numbers = np.arange(count_at_rate(duration_s, rate_hz * (2 if how == "both fields" else 1)))
    n_fields = len(numbers) if how == "both fields" else 2 * len(numbers)
    starts_s = np.arange(n_fields) / (2 * rate_hz)
    first = numbers if how == "both fields" else 2 * numbers
    second = first + 1 if how in {"weave", "mean"} else first
    fields = {"weave": "weave", "mean": ""}.get(how, "bob")
    share = np.full(len(numbers), 0.5 if how == "mean" else 0.0)
    return Timing("interlaced", starts_s[first], first, second, share, starts_s, 1 / (2 * rate_hz), fields)


def _show_field(picture: np.ndarray, parity: int, frame: np.ndarray) -> None:
    """Fill a frame (3, H, W) from the even or odd rows of a picture: rows between are the mean of their neighbours."""
    frame[:, parity::2] = picture[:, parity::2]
    missing = range(1 - parity, picture.shape[1], 2)
    last = picture.shape[1] - 1
    above = [row - 1 if row else 1 for row in missing]
    below = [row + 1 if row < last else row - 1 for row in missing]
    frame[:, 1 - parity :: 2] = (picture[:, above].astype(np.uint16) + picture[:, below] + 1) // 2
