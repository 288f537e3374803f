"""Work of the camera while it films: times of its pictures, zoom, pans, shake, focus and exposure."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from synthetic.scene import log_uniform
from synthetic.spec import SyntheticSpec
from synthetic.track import minimum_jerk

_SHARES = {"zoom": 0.09, "pan": 0.08, "shake": 0.06, "whip": 0.02, "bumps": 0.04, "focus": 0.05, "exposure": 0.06}
_FLICKER_SHARE = 0.06


@dataclass(frozen=True, eq=False)
class Take:
    """Pictures of one take of a camera.

    Args:
        starts_s: Times in the scene at which exposures start (P,), in seconds, never falling.
        frame_s: Time from one picture of the camera to the next; the shutter is open for a share of it.
        warps: Matrices (P, 2, 3) that move a still camera's picture to what this camera sees, in pixels; or None.
        blur_px: Standard deviation of the blur along x and y (P, 2), in pixels; or None.
        gains: Factors of the light (P,); or None.
    """

    starts_s: np.ndarray
    frame_s: float
    warps: np.ndarray | None = None
    blur_px: np.ndarray | None = None
    gains: np.ndarray | None = None

    @staticmethod
    def of(spec: SyntheticSpec) -> "Take":
        """Return the take of a camera that stands still and has the frame rate of a clip."""
        return Take(np.arange(spec.n_frames) / spec.frame_rate_hz, 1 / spec.frame_rate_hz)


@dataclass(eq=False)
class _Operation:
    """What an operator does, at each picture: zoom, shift in pictures, rotation, blur in widths and light."""

    times_s: np.ndarray
    zoom: np.ndarray
    shift: np.ndarray
    turn_rad: np.ndarray
    blur: np.ndarray
    gain: np.ndarray


def draw_take(
    rng: np.random.Generator, spec: SyntheticSpec, times_s: np.ndarray, starts_s: np.ndarray, frame_s: float
) -> Take:
    """Draw what the operator does during a take.

    Args:
        rng: Random generator.
        spec: Form of the clip.
        times_s: Times in the clip at which the pictures are taken (P,).
        starts_s: Times in the scene at which they are exposed (P,), see `Take`.
        frame_s: Time from one picture to the next.

    Returns:
        The take; most cameras do nothing.
    """
    n = len(times_s)
    work = _Operation(times_s, np.ones(n), np.zeros((n, 2)), np.zeros(n), np.zeros((n, 2)), np.ones(n))
    chosen = [name for name, share in _SHARES.items() if rng.random() < share]
    for name in chosen:
        _OPERATIONS[name](rng, work)
    if rng.random() < _FLICKER_SHARE:
        _flicker(rng, work)
    moves = bool(np.any(work.zoom != 1) or work.shift.any() or work.turn_rad.any())
    return Take(
        starts_s,
        frame_s,
        _warps(work, spec) if moves else None,
        work.blur * spec.width if work.blur.any() else None,
        work.gain if np.any(work.gain != 1) else None,
    )


def _warps(work: _Operation, spec: SyntheticSpec) -> np.ndarray:
    centre = 0.5 * (spec.width - 1), 0.5 * (spec.height - 1)
    warps = []
    for zoom, turn_rad in zip(work.zoom.tolist(), work.turn_rad.tolist(), strict=True):
        warps.append(cv2.getRotationMatrix2D(centre, math.degrees(turn_rad), zoom))
    matrices = np.array(warps)
    matrices[:, :, 2] += work.shift * [spec.width, spec.height]
    return matrices


def ramp(times_s: np.ndarray, start_s: float, length_s: float) -> np.ndarray:
    """Return a smooth rise (T,) from 0 to 1 that starts at a time and takes `length_s`, above 0."""
    return minimum_jerk(np.clip((times_s - start_s) / length_s, 0, 1))


def _span(rng: np.random.Generator, work: _Operation, shortest_s: float, longest_s: float) -> tuple[float, float]:
    """Draw start and length of something that happens within the take."""
    first_s, last_s = float(work.times_s[0]), float(work.times_s[-1])
    length_s = log_uniform(rng, (shortest_s, longest_s))
    return rng.uniform(first_s - 0.3 * length_s, max(first_s, last_s - 0.7 * length_s)), length_s


def _zoom(rng: np.random.Generator, work: _Operation) -> None:
    """Zoom slowly, or within an instant, in or out, and sometimes back again."""
    fast = rng.random() < 0.35
    most = math.log(rng.uniform(1.1, 1.8))
    share = ramp(work.times_s, *_span(rng, work, *((0.12, 0.5) if fast else (0.8, 5.0))))
    if rng.random() < 0.25:
        share = share - ramp(work.times_s, *_span(rng, work, *((0.12, 0.5) if fast else (0.8, 3.0))))
        share = share - share.min()
    work.zoom *= np.exp(most * (share if rng.random() < 0.6 else 1 - share))


def _pan(rng: np.random.Generator, work: _Operation) -> None:
    """Turn the camera at an even or swinging pace, within a larger picture."""
    zoom = rng.uniform(1.15, 1.5)
    room = 0.5 * (zoom - 1)
    start, end = rng.uniform(-room, room, (2, 2))
    if rng.random() < 0.6:
        end[1] = start[1]
    if rng.random() < 0.3:
        rate_hz, phase = rng.uniform(0.15, 0.7), rng.uniform(0, 2 * math.pi)
        share = 0.5 + 0.5 * np.sin(2 * math.pi * rate_hz * work.times_s + phase)
    else:
        share = ramp(work.times_s, *_span(rng, work, 0.5, 5.0))
    work.zoom *= zoom
    work.shift += start + share[:, None] * (end - start)


def _shake(rng: np.random.Generator, work: _Operation) -> None:
    """Shake as the hand of someone who walks or runs does."""
    rates_hz = rng.uniform(0.4, 7, 7)
    amounts = log_uniform(rng, (0.015, 0.06)) / (0.5 + rates_hz)
    phases = rng.uniform(0, 2 * math.pi, (7, 3))
    waves = np.sin(2 * math.pi * rates_hz[:, None, None] * work.times_s[:, None] + phases[:, None])
    moved = (amounts[:, None, None] * waves).sum(axis=0)
    work.zoom *= 1.08
    work.shift += moved[:, :2] * [1, 1.5]
    work.turn_rad += 0.7 * moved[:, 2]


def _whip(rng: np.random.Generator, work: _Operation) -> None:
    """Turn the camera away so fast that the picture smears, or to the scene, or both."""
    start_s, length_s = _span(rng, work, 0.12, 0.4)
    away = ramp(work.times_s, start_s, length_s)
    kind = rng.integers(3)
    if kind == 1:
        away = 1 - away
    if kind == 2:
        away = away - ramp(work.times_s, start_s + length_s + rng.uniform(0.2, 1.0), rng.uniform(0.12, 0.4))
    distance = rng.choice([-1.0, 1.0]) * rng.uniform(0.5, 1.0)
    along = int(rng.random() < 0.15)
    work.shift[:, along] += distance * away
    if len(away) > 1:
        speed = np.abs(np.gradient(distance * away, work.times_s))
        work.blur[:, along] += 0.3 * rng.uniform(0.005, 0.02) * speed


def _bumps(rng: np.random.Generator, work: _Operation) -> None:
    """Knock against the camera or its table, without a sound that is part of the truth."""
    for _ in range(int(rng.integers(1, 4))):
        start_s, _length_s = _span(rng, work, 0.1, 0.2)
        later_s = np.maximum(work.times_s - start_s, 0)
        rate_hz, decay_s = rng.uniform(4, 12), rng.uniform(0.04, 0.2)
        ringing = np.exp(-later_s / decay_s) * np.sin(2 * math.pi * rate_hz * later_s)
        amount = log_uniform(rng, (0.005, 0.03)) * rng.normal(0, [0.6, 1.0, 0.3])
        work.shift += ringing[:, None] * amount[:2]
        work.turn_rad += ringing * amount[2]


def _focus(rng: np.random.Generator, work: _Operation) -> None:
    """Lose the focus, find it, or hunt for it."""
    share = ramp(work.times_s, *_span(rng, work, 0.15, 1.2))
    kind = rng.integers(3)
    if kind == 1:
        share = 1 - share
    if kind == 2:
        share = np.abs(share - ramp(work.times_s, *_span(rng, work, 0.15, 0.8)))
    work.blur += log_uniform(rng, (0.004, 0.02)) * share[:, None]


def _exposure(rng: np.random.Generator, work: _Operation) -> None:
    """Step the exposure, as automatic cameras do, or switch a lamp."""
    for _ in range(int(rng.integers(1, 4))):
        start_s, length_s = _span(rng, work, 0.02, 0.8)
        work.gain *= np.exp(rng.normal(0, 0.3) * ramp(work.times_s, start_s, length_s))


def _flicker(rng: np.random.Generator, work: _Operation) -> None:
    """Let the light beat with the lamps, or vary from picture to picture as in old films."""
    amount = log_uniform(rng, (0.01, 0.12))
    if rng.random() < 0.6:
        work.gain *= 1 + amount * np.sin(2 * math.pi * log_uniform(rng, (0.5, 14)) * work.times_s)
    else:
        work.gain *= np.exp(amount * rng.standard_normal(len(work.times_s)))
        work.shift += 0.05 * amount * rng.standard_normal((len(work.times_s), 2))  # of the film in its gate


_OPERATIONS: dict[str, Callable[[np.random.Generator, _Operation], None]] = {
    "zoom": _zoom,
    "pan": _pan,
    "shake": _shake,
    "whip": _whip,
    "bumps": _bumps,
    "focus": _focus,
    "exposure": _exposure,
}
