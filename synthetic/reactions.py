"""Reactions of things to strikes: sliding, rocking, giving way, scattering grains and splashing."""

import bisect
import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from synthetic.plan import Plan, Strike
from synthetic.scene import GRAVITY_M_S2
from synthetic.textures import texture
from synthetic.view import FAR_PX, SUBPIXEL_BITS, Camera

SETTLED_S = 1.2  # time after which a thing no longer moves
_LEAST_PX = 0.05
_YIELDING_S = 0.025  # time in which a surface gives way
_FREEING_S = 0.02  # time constant with which a stick comes out of it
_KEPT_DENTS = 6  # largest number of dents drawn at a time


@dataclass(frozen=True)
class _Push:
    """A thing that is moved as a whole."""

    thing: int
    time_s: float
    slide_px: np.ndarray
    rock_rad: float
    rate_hz: float


@dataclass(frozen=True)
class _Dent:
    """A surface that gives way around a point under a stick, swings back and keeps a trace."""

    stick: int
    time_s: float
    held_s: float
    centre_px: np.ndarray
    radius_px: float
    depth_px: np.ndarray
    rate_hz: float
    trace: float


@dataclass(frozen=True, eq=False)
class _Flight:
    """Flying grains or drops (K)."""

    time_s: float
    start_m: np.ndarray
    speed_m_s: np.ndarray
    end_s: np.ndarray
    colours: list[tuple[float, ...]]
    sizes_px: np.ndarray
    stays: bool

    @cached_property
    def until_s(self) -> float:
        """Time at which the last one lands."""
        return self.time_s + float(self.end_s.max(initial=0.0))


@dataclass(frozen=True)
class _Grain:
    """A grain that has landed: its landing time, and a circle in fixed point."""

    time_s: float
    centre: tuple[int, int]
    radius: int
    colour: tuple[float, ...]


class Reactions:
    """The reactions to all strikes of a plan.

    Args:
        plan: Events of the clip.
        view: The camera.
        brightness: Brightness of upper surfaces.
        rng: Random generator.
    """

    def __init__(self, plan: Plan, view: Camera, brightness: float, rng: np.random.Generator) -> None:
        self._view = view
        self._pushes: list[_Push] = []
        self._dents: list[_Dent] = []
        self._flights: list[_Flight] = []
        self._slid = {i: np.zeros(2) for i in range(len(plan.scene.things))}
        for strike in plan.strikes:
            scale = float(view.px_per_m(strike.spot.point_m))
            if strike.reaction == "rigid-motion":
                self._push(plan, strike, scale, rng)
            elif strike.reaction == "deform":
                self._dent(plan, strike, scale, rng)
            elif strike.reaction in {"scatter", "splash"}:
                self._throw(plan, strike, scale, brightness, rng)
        landed = (grain for flight in self._flights if flight.stays for grain in self._land(flight))
        self._landed = sorted(landed, key=lambda grain: grain.time_s)

    def is_moving(self, time_s: float) -> bool:
        """Return whether any thing changes its place or form around this time."""
        starts = [(push.time_s, 0.0) for push in self._pushes] + [(dent.time_s, dent.held_s) for dent in self._dents]
        return any(start_s - 0.1 < time_s < start_s + held_s + SETTLED_S for start_s, held_s in starts)

    def moves(self, thing: int) -> bool:
        """Return whether a thing ever moves as a whole."""
        return any(push.thing == thing for push in self._pushes)

    def place(self, thing: int, time_s: float) -> tuple[tuple[float, float], float]:
        """Return the displacement of a thing in pixels, x and y, and its rotation in radians."""
        shift, turn = np.zeros(2), 0.0
        for push in self._pushes:
            later_s = time_s - push.time_s
            if push.thing == thing and later_s > 0:
                shift += push.slide_px * (1 - math.exp(-later_s / 0.06))
                turn += push.rock_rad * math.exp(-later_s / 0.16) * math.sin(2 * math.pi * push.rate_hz * later_s)
        if max(abs(shift[0]), abs(shift[1])) < _LEAST_PX and abs(turn) < 1e-3:
            return (0.0, 0.0), 0.0
        return (float(shift[0]), float(shift[1])), turn

    def bend(self, picture: np.ndarray, time_s: float) -> None:
        """Distort the picture (H, W, 3) where surfaces have given way, in place."""
        for dent in [dent for dent in self._dents if dent.time_s < time_s][-_KEPT_DENTS:]:
            later_s = time_s - dent.time_s
            amount = min(1.0, later_s / _YIELDING_S)
            if later_s > dent.held_s:
                free_s = later_s - dent.held_s
                swing = math.exp(-free_s / 0.12) * math.cos(2 * math.pi * dent.rate_hz * free_s)
                amount *= dent.trace + (1 - dent.trace) * swing
            _warp(picture, dent.centre_px, dent.radius_px, amount * dent.depth_px)

    def sunk_px(self, stick: int, times_s: np.ndarray) -> np.ndarray:
        """Return how far the tip of a stick has sunk into a yielding surface (K, 2), in pixels, at times (K,)."""
        sunk = np.zeros((len(times_s), 2))
        for dent in self._dents:
            if dent.stick == stick:
                later_s = times_s - dent.time_s
                pressed = np.clip(later_s / _YIELDING_S, 0, 1)
                sunk += (pressed * np.exp(-np.maximum(later_s - dent.held_s, 0) / _FREEING_S))[:, None] * dent.depth_px
        return sunk

    def draw_flying(self, picture: np.ndarray, start_s: float, end_s: float) -> None:
        """Draw the flying grains and drops with their motion during the exposure."""
        for flight in self._flights:
            if flight.time_s < end_s and start_s < flight.until_s:
                self._draw_flight(picture, flight, start_s, end_s)

    def draw_landed(self, picture: np.ndarray, since_s: float, until_s: float) -> None:
        """Draw the grains that landed between two times."""
        first, end = (
            bisect.bisect_left(self._landed, time_s, key=lambda grain: grain.time_s) for time_s in (since_s, until_s)
        )
        for grain in self._landed[first:end]:
            cv2.circle(picture, grain.centre, grain.radius, grain.colour, -1, cv2.LINE_AA, SUBPIXEL_BITS)

    def _push(self, plan: Plan, strike: Strike, scale: float, rng: np.random.Generator) -> None:
        limit_px = 0.03 * plan.scene.span_m * scale
        amount = strike.strength * limit_px * rng.normal(0, [0.8, 0.25])
        slid = np.clip(self._slid[strike.thing] + amount, -limit_px, limit_px)
        slide_px, self._slid[strike.thing] = slid - self._slid[strike.thing], slid
        rock_rad = rng.choice([-1, 1]) * rng.uniform(0.02, 0.15) * strike.strength
        self._pushes.append(_Push(strike.thing, strike.picture_time_s, slide_px, rock_rad, rng.uniform(4, 10)))

    def _dent(self, plan: Plan, strike: Strike, scale: float, rng: np.random.Generator) -> None:
        thing = plan.scene.things[strike.thing]
        size_m = 0.25 * min(thing.size_m[:2]) if thing.shape != "ground" else 0.06
        point = strike.spot.point_m
        below = self._view.project(point - 0.01 * strike.spot.normal) - self._view.project(point)
        depth_m = rng.uniform(0.2, 0.5) * strike.strength * max(0.02, min(0.3 * thing.size_m[2], 0.06))
        held_s = max(strike.dwell_s, strike.duration_s)
        radius_px = max(2.0, rng.uniform(0.5, 1.0) * size_m * scale)
        depth_px = depth_m * (100 * below + rng.normal(0, 0.3 * scale, 2))
        self._dents.append(
            _Dent(
                strike.stick,
                strike.picture_time_s,
                held_s,
                self._view.project(point),
                radius_px,
                np.clip(depth_px, -0.6 * radius_px, 0.6 * radius_px),
                rng.uniform(3, 8),
                rng.uniform(0.0, 0.3),
            )
        )

    def _throw(self, plan: Plan, strike: Strike, scale: float, brightness: float, rng: np.random.Generator) -> None:
        splash = strike.reaction == "splash"
        n = int(rng.poisson(4 + 26 * strike.strength))
        up = strike.strength**0.5 * rng.uniform(0.4, 1.9, n)
        angle, out = rng.uniform(0, 2 * math.pi, n), rng.uniform(0.05, 0.7, n)
        speed = np.stack([out * np.cos(angle), out * np.sin(angle), up], axis=1)
        start = strike.spot.point_m + rng.normal(0, 0.01, (n, 3)) * [1, 1, 0]
        end_s = 2 * up / GRAVITY_M_S2
        surface = texture(rng, strike.material, 24).reshape(-1, 3)
        pixels = 0.75 + 0.25 * surface[:n] if splash else surface[rng.integers(0, len(surface), n)]
        colours = [tuple((255 * brightness * pixel).clip(0, 255).tolist()) for pixel in pixels]
        size_m = rng.uniform(0.001, 0.004, n) * {"leaf": 4, "gravel": 2}.get(strike.material, 1)
        self._flights.append(_Flight(strike.picture_time_s, start, speed, end_s, colours, size_m * scale, not splash))

    def _land(self, flight: _Flight) -> list[_Grain]:
        """Return the landed grains of a flight, without those far outside the picture."""
        places_px = self._view.project(_place(flight, flight.end_s))
        grains = []
        for i in np.flatnonzero(np.abs(places_px).max(axis=1) < FAR_PX).tolist():
            x, y = np.round(places_px[i] * (1 << SUBPIXEL_BITS)).astype(int).tolist()
            radius = max(3, round(flight.sizes_px[i] * (1 << SUBPIXEL_BITS)))
            grains.append(_Grain(flight.time_s + float(flight.end_s[i]), (x, y), radius, flight.colours[i]))
        return grains

    def _draw_flight(self, picture: np.ndarray, flight: _Flight, start_s: float, end_s: float) -> None:
        first = np.clip(start_s - flight.time_s, 0, flight.end_s)
        last = np.clip(end_s - flight.time_s, 0, flight.end_s)
        tails, heads = self._view.project(_place(flight, first)), self._view.project(_place(flight, last))
        ends = (np.clip(np.stack([tails, heads], axis=1), -FAR_PX, FAR_PX) * (1 << SUBPIXEL_BITS)).astype(int).tolist()
        thicknesses = np.maximum(1, np.rint(1.5 * flight.sizes_px)).astype(int).tolist()
        for i in np.flatnonzero(last < flight.end_s).tolist():
            start, end = ends[i]
            cv2.line(picture, start, end, flight.colours[i], thicknesses[i], cv2.LINE_AA, SUBPIXEL_BITS)


def _place(flight: _Flight, later_s: np.ndarray | float) -> np.ndarray:
    """Return the positions of the grains of a flight (K, 3)."""
    later = np.broadcast_to(np.asarray(later_s, float), flight.end_s.shape)[:, None]
    return flight.start_m + flight.speed_m_s * later - 0.5 * GRAVITY_M_S2 * later**2 * [0, 0, 1]


def _warp(picture: np.ndarray, centre: np.ndarray, radius: float, depth: np.ndarray) -> None:
    """Shift the surroundings of a point by up to `depth` (2,) pixels, in place."""
    if max(abs(depth[0]), abs(depth[1])) < _LEAST_PX:
        return
    reach = 2.5 * radius
    low = np.maximum(np.floor(centre - reach), 0).astype(int)
    high = np.minimum(np.ceil(centre + reach) + 1, [picture.shape[1], picture.shape[0]]).astype(int)
    if (high - low < 2).any():
        return
    x = np.arange(high[0] - low[0], dtype=np.float32)[None]
    y = np.arange(high[1] - low[1], dtype=np.float32)[:, None]
    squared = (x + low[0] - centre[0]) ** 2 + (y + low[1] - centre[1]) ** 2
    weight = np.exp(-squared / (2 * (0.5 * radius) ** 2)).astype(np.float32)
    part = picture[low[1] : high[1], low[0] : high[0]]
    map_x, map_y = x - np.float32(depth[0]) * weight, y - np.float32(depth[1]) * weight
    part[...] = cv2.remap(part.copy(), map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
