"""Camera model from scene light to stored pixels: shake, exposure, colour, blur, noise and compression."""

import math

import cv2
import numpy as np
from cv2.typing import MatLike

from synthetic.plan import Plan
from synthetic.scene import log_uniform
from synthetic.spec import SyntheticSpec
from synthetic.take import Take

_NOISE_FIELDS = 2
_NOISE_MARGIN_PX = 16
_LEVELS = np.arange(256, dtype=np.float32) / 255


class Film:
    """Faults of a camera, drawn once for each clip.

    Args:
        plan: Events of the clip; strikes may shake the camera.
        spec: Form of the clip.
        scene: Picture (H, W, 3), uint8, for which the camera sets its exposure.
        rng: Random generator that draws the faults.
        take: Pictures to develop, and what the operator does meanwhile.
    """

    def __init__(
        self, plan: Plan, spec: SyntheticSpec, scene: np.ndarray, rng: np.random.Generator, take: Take
    ) -> None:
        self._size = spec.width, spec.height
        self._take = take
        self._shakes = [self._shaken(i, *shake) for i, shake in enumerate(_draw_shake(plan, spec, rng, take).tolist())]
        gamma, lift = rng.uniform(0.7, 1.25), rng.uniform(0, 0.06)
        mean, bright = (
            float(level) ** gamma for level in (scene.mean() / 255, np.quantile(scene[::2, ::2], 0.95) / 255)
        )
        # keep bright scenes brighter than dark ones, and few highlights clipped
        exposure = log_uniform(rng, (0.22, 0.6)) * (mean / 0.35) ** 0.3 / max(mean, 0.05)
        gain = min(exposure, 2.5, rng.uniform(0.8, 1.25) / max(bright, 0.05)) * np.exp(rng.normal(0, 0.06, 3))
        curve = lift + (1 - lift) * _LEVELS[:, None] ** gamma * gain
        drift = _draw_drift(rng, take)
        tables = np.clip(255 * np.minimum(curve, 1) * (np.ones((1, 1, 3)) if drift is None else drift), 0, 255)
        self._tables = tables.astype(np.uint8)[:, :, None]  # one for the whole clip, or one for each frame
        self._blur_px = float(rng.choice([0.0, 0.5, 0.8, 1.2], p=[0.65, 0.2, 0.12, 0.03])) * (spec.width / 112) ** 0.5
        self._blur_size = (3 + 2 * round(self._blur_px),) * 2
        self._noise = log_uniform(rng, (0.5, 5.0))
        self._fields = _noise_fields(spec, rng)
        limits = [_NOISE_FIELDS, 2, _NOISE_MARGIN_PX, _NOISE_MARGIN_PX]
        self._crops = rng.integers(0, limits, (len(take.starts_s), 4)).tolist()
        self._jpeg_quality = int(rng.uniform(12, 70)) if rng.random() < 0.35 else None
        self._repeated = int(rng.integers(3, 12)) if rng.random() < 0.04 else None

    def is_repeated(self, index: int) -> bool:
        """Return whether a frame is dropped, so that the previous frame is shown again."""
        return self._repeated is not None and index > 0 and index % self._repeated == 0

    def develop(self, picture: MatLike, index: int) -> MatLike:
        """Return the frame (H, W, 3), uint8, as the camera stores it."""
        shake = self._shakes[index]
        if shake is not None:
            picture = cv2.warpAffine(picture, shake, self._size, borderMode=cv2.BORDER_REFLECT_101)
        if self._take.blur_px is not None:
            picture = _blurred(picture, *self._take.blur_px[index].tolist())
        if self._take.gains is not None:
            picture = cv2.convertScaleAbs(picture, alpha=float(self._take.gains[index]))
        if self._blur_px:
            picture = cv2.GaussianBlur(picture, self._blur_size, self._blur_px)
        picture = cv2.LUT(picture, self._tables[index % len(self._tables)])
        number, sign, x, y = self._crops[index]
        part = self._fields[number][y : y + self._size[1], x : x + self._size[0]]
        amount = (2 * sign - 1) * self._noise / 32
        picture = cv2.addWeighted(picture, 1.0, part, amount, -128 * amount)
        if self._jpeg_quality is not None:
            swapped = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
            packed = cv2.imencode(".jpg", swapped, [cv2.IMWRITE_JPEG_QUALITY, self._jpeg_quality])[1]
            unpacked = cv2.imdecode(packed, cv2.IMREAD_COLOR_RGB)
            assert unpacked is not None
            picture = unpacked
        return picture

    def _shaken(self, index: int, x_px: float, y_px: float, turn_rad: float) -> MatLike | None:
        """Return the matrix (2, 3) that shifts, rotates and zooms a frame; None if the frame does not move."""
        warp = None if self._take.warps is None else self._take.warps[index]
        if x_px == y_px == turn_rad == 0:
            return warp
        matrix = cv2.getRotationMatrix2D((0.5 * self._size[0], 0.5 * self._size[1]), math.degrees(turn_rad), 1.0)
        matrix[:, 2] += np.array([x_px, y_px])
        return matrix if warp is None else warp @ np.vstack([matrix, [0, 0, 1]])


def _blurred(picture: MatLike, x_px: float, y_px: float) -> MatLike:
    """Return a picture blurred by a Gaussian with these standard deviations."""
    size = 1 + 2 * math.ceil(2 * x_px), 1 + 2 * math.ceil(2 * y_px)
    return cv2.GaussianBlur(picture, size, max(x_px, 0.1), sigmaY=max(y_px, 0.1)) if max(size) > 1 else picture


def _draw_drift(rng: np.random.Generator, take: Take) -> np.ndarray | None:
    """Draw gains of red, green and blue (P, 1, 3) for drifting exposure and colour and flickering lamps."""
    drift = rng.choice([0.0, 0.02, 0.07], p=[0.5, 0.35, 0.15]) * rng.normal(0, 1, (2, 4))
    flicker = float(rng.choice([0.0, 0.02, 0.06], p=[0.8, 0.15, 0.05]))
    if not (drift.any() or flicker):
        return None
    times_s = take.starts_s[:, None, None]
    waves = np.sin(2 * math.pi * np.array([[0.13], [0.41]]) * times_s + np.arange(2)[:, None])
    change = ((drift[:, 3:] + 0.3 * drift[:, :3]) * waves).sum(axis=1)
    gains = np.exp(change) * (1 + flicker * np.sin(2 * math.pi * 9.3 * times_s[:, 0]))
    return gains[:, None]


def _draw_shake(plan: Plan, spec: SyntheticSpec, rng: np.random.Generator, take: Take) -> np.ndarray:
    """Draw the shift (pixels) and rotation (radians) of each frame (P, 3): tripod, hand, or knocks from strikes."""
    kind = rng.choice(4, p=[0.62, 0.22, 0.08, 0.08])
    times_s = take.starts_s
    shake = np.zeros((len(times_s), 3))
    size = spec.width * np.array([1, 1, 1 / spec.width])
    if kind in (1, 2):  # steady hands, or unsteady ones
        rates_hz = rng.uniform(0.2, 5, 6)
        amounts = log_uniform(rng, (0.001, 0.006) if kind == 1 else (0.006, 0.02)) / (0.5 + rates_hz)
        phases = rng.uniform(0, 2 * math.pi, (6, 3))
        waves = np.sin(2 * math.pi * rates_hz[:, None, None] * times_s[:, None] + phases[:, None])
        shake = (amounts[:, None, None] * waves).sum(axis=0) * size
    if kind == 3:  # strikes shake the camera
        for strike in plan.strikes:
            later_s = times_s - strike.picture_time_s
            ringing = np.exp(-np.maximum(later_s, 0) / 0.08) * np.sin(2 * math.pi * 11 * later_s) * (later_s > 0)
            shake += 0.006 * strike.strength * ringing[:, None] * rng.normal(0, [0.4, 1, 0.3]) * size
    return shake


def _noise_fields(spec: SyntheticSpec, rng: np.random.Generator) -> list[np.ndarray]:
    """Return noise images around 128 with a standard deviation of 32, larger than a frame.

    Each frame uses a random crop with a random sign.
    """
    size = (spec.height + _NOISE_MARGIN_PX, spec.width + _NOISE_MARGIN_PX, 3)
    grainy = float(rng.choice([0.0, 0.6, 1.0]))
    coloured = rng.uniform(0.2, 0.8)
    fields = []
    for _ in range(_NOISE_FIELDS):
        field: MatLike = rng.standard_normal(size, np.float32)
        field = coloured * field + (1 - coloured) * field[..., :1]
        if grainy:
            field = cv2.GaussianBlur(field, (0, 0), grainy)
        fields.append(np.clip(128 + 32 * field / field.std(), 0, 255).astype(np.uint8))
    return fields
