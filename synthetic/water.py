"""Water in a pool: a permanent swell, and rings that spread from each strike."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from synthetic.plan import Strike
from synthetic.scene import GRAVITY_M_S2, UP, WATER_LEVEL, Thing, log_uniform
from synthetic.stage import Layer
from synthetic.view import Camera

_N_WAVES = 3
_RING_M_S = 0.35
_RING_LENGTH_M = 0.06
_RING_SHIFT_M = 0.012
_CALM_S = 1.2  # time after which a ring is no longer visible
_CIRCLE = np.linspace(0, 2 * math.pi, 32, endpoint=False)


@dataclass(frozen=True, eq=False)
class _Ring:
    """A ring around a struck point: the point, its range, and each pixel's direction (h, w, 2) and distance (h, w)."""

    time_s: float
    strength: float
    centre_m: np.ndarray
    reach_m: float
    away: np.ndarray
    distance_m: np.ndarray


class Water:
    """The water of a pool; the slopes of its waves distort its image, most in the middle.

    Args:
        layer: The pool as drawn at rest.
        thing: The pool.
        view: The camera.
        strikes: Strikes on it.
        rng: Random generator for the swell.
    """

    def __init__(
        self, layer: Layer, thing: Thing, view: Camera, strikes: Sequence[Strike], rng: np.random.Generator
    ) -> None:
        self._layer, self._view = layer, view
        height, width = layer.colour.shape[:2]
        centre_m = np.array(thing.centre_m) + WATER_LEVEL * thing.size_m[2] * UP
        radius_m = 0.5 * min(thing.size_m[:2])
        points_m = view.on_plane(layer.y_px + height, layer.x_px + width, 2, centre_m[2])[0]
        place_m = points_m[layer.y_px :, layer.x_px :, :2] - centre_m[:2].astype(np.float32)
        inside = np.maximum(0, 1 - np.square(place_m).sum(axis=-1) / radius_m**2)
        # pixels for a shift of one metre to the right and away from the camera
        self._px_per_m = float(view.px_per_m(centre_m)) * inside[..., None] * np.array([1, -view.up[1]], np.float32)
        angles = rng.uniform(0, 2 * math.pi, _N_WAVES)
        directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        numbers = 2 * math.pi / (radius_m * rng.uniform(0.3, 0.9, _N_WAVES))
        phases = place_m @ (directions * numbers[:, None]).T.astype(np.float32) + rng.uniform(0, 7, _N_WAVES)
        self._rates = np.sqrt(GRAVITY_M_S2 * numbers)  # radians per second, dispersion of deep water
        shift_m = log_uniform(rng, (0.002, 0.008)) * directions / _N_WAVES**0.5
        waves = np.stack([np.cos(phases), np.sin(phases)])[..., None] * shift_m * self._px_per_m[..., None, :]
        self._waves_px = np.ascontiguousarray(
            waves.transpose(0, 3, 1, 2, 4), np.float32
        )  # (cosine or sine, wave, h, w, x or y)
        grid = np.meshgrid(np.arange(width), np.arange(height))
        self._grid = np.stack(grid, axis=-1).astype(np.float32)
        self._rings = [self._ring(strike, centre_m, place_m, radius_m) for strike in strikes]

    def at(self, time_s: float) -> Layer:
        """Return the pool's layer at a time."""
        turns = self._rates * time_s
        shift_px = np.tensordot(np.stack([np.cos(turns), np.sin(turns)]).astype(np.float32), self._waves_px, 2)
        rings = [ring for ring in self._rings if 0 < time_s - ring.time_s < _CALM_S]
        for ring in rings:
            later_s = time_s - ring.time_s
            ahead_m = (ring.distance_m - _RING_M_S * later_s) / _RING_LENGTH_M
            height = np.cos(2 * math.pi * ahead_m) * np.exp(-np.square(ahead_m))
            size_m = _RING_SHIFT_M * ring.strength**0.5 * (1 - later_s / _CALM_S)
            shift_px += (size_m * height)[..., None] * ring.away * self._px_per_m
        columns, rows = np.moveaxis(self._grid + shift_px, -1, 0)
        colour = cv2.remap(self._layer.colour, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for ring in rings:
            self._draw_ring(colour, ring, time_s - ring.time_s)
        return replace(self._layer, colour=colour)

    def _ring(self, strike: Strike, centre_m: np.ndarray, place_m: np.ndarray, radius_m: float) -> _Ring:
        struck_m = strike.spot.point_m - centre_m
        away = place_m - struck_m[:2].astype(np.float32)
        distance_m = np.linalg.norm(away, axis=-1)
        reach_m = max(0.03, radius_m - float(np.hypot(*struck_m[:2])))
        away = away / np.maximum(distance_m, 1e-3)[..., None]
        return _Ring(strike.picture_time_s, strike.strength, strike.spot.point_m, reach_m, away, distance_m)

    def _draw_ring(self, colour: np.ndarray, ring: _Ring, later_s: float) -> None:
        """Draw the light crests of a ring and the dark between them."""
        weight = 0.55 * ring.strength**0.5 * (1 - later_s / _CALM_S)
        for lag_s, tone in ((0.0, 255), (0.06, 40), (0.14, 230)):
            radius_m = _RING_M_S * (later_s - lag_s)
            if 0.01 < radius_m < ring.reach_m:
                rim = ring.centre_m + radius_m * np.stack([np.cos(_CIRCLE), np.sin(_CIRCLE), 0 * _CIRCLE], axis=1)
                points = np.rint(8 * (self._view.project(rim) - [self._layer.x_px, self._layer.y_px])).astype(np.int32)
                low = np.clip(points.min(axis=0) // 8 - 1, 0, colour.shape[1::-1])
                high = np.clip(points.max(axis=0) // 8 + 3, 0, colour.shape[1::-1])
                if (high > low).all():
                    part = colour[low[1] : high[1], low[0] : high[0]]
                    drawn = part.copy()
                    cv2.polylines(drawn, [points - 8 * low], True, (tone,) * 3, 1, cv2.LINE_AA, 3)
                    cv2.addWeighted(drawn, weight, part, 1 - weight, 0, part)
