"""Positions of the sticks over time: swings, rests, scratches, lures and the movements between them.

A stick's tip is a contact point, which moves from spot to spot, plus a lift along the surface normal. The lift is
exactly 0 while the stick touches: from a strike's picture time until the stick leaves the surface.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np

from synthetic.plan import Lure, Plan, Strike
from synthetic.scene import FOREARM_M, TABLE_HEIGHT_M, UP, Spot, across_and_along, kept_on, log_uniform
from synthetic.spec import SyntheticSpec
from synthetic.track import Track, minimum_jerk

Event = Strike | Lure
_PATH_STEPS = 9


@dataclass(frozen=True, eq=False)
class StickMotion:
    """The motion of one stick and the arm that holds it.

    Args:
        contact: Point below the tip on the surface (3,), m.
        normal: Direction of the lift (3,), approximately a unit vector.
        grip: Direction from the tip to the hand in contact (3,), approximately a unit vector.
        lift: Height of the tip above the point, m; 0 in contact.
        away: How far the stick has withdrawn towards the hand's side, 0 to 1.
        grip_lift: Share of the lift by which the hand rises too.
        elbow_lift: Share of the lift by which the elbow rises too.
        hand_lag_s: Time by which the hand follows the tip; negative if it leads.
        slant: Distance by which the tip swings sideways for each metre of lift.
        bend: What the wrist adds to `grip` to give the direction from the hand to the elbow (3,).
        length_m: Distance from the tip to the hand.
        shoulder_m: End of the arm (3,), m, if the player is visible from head to table; otherwise None.
        tremor_m: Amplitude of the random motion while nothing is touched, m.
        tremor_phase: Phases of the random motion (3, 3), radians.
        reach_m: Distance by which the stick withdraws at `away` = 1.
    """

    contact: Track
    normal: Track
    grip: Track
    lift: Track
    away: Track
    grip_lift: float
    elbow_lift: float
    hand_lag_s: float
    slant: float
    bend: np.ndarray
    length_m: float
    shoulder_m: np.ndarray | None
    tremor_m: float
    tremor_phase: np.ndarray
    reach_m: float

    def ends_m(self, times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the tip and the middle of the hand (K, 3) each, in metres, at times (K,)."""
        contact, normal, grip = self.contact.at(times_s), _unit(self.normal.at(times_s)), _unit(self.grip.at(times_s))
        lift = self.lift.at(times_s)[..., None]
        late = self.lift.at(np.asarray(times_s) - self.hand_lag_s)[..., None]
        tremor, gone = self._tremor(times_s), self._gone(times_s, grip)
        back = _unit(grip - (grip * normal).sum(axis=-1, keepdims=True) * normal)
        aside = self.slant * np.cross(normal, back)
        swing, late_swing = (height * aside + self._arc(height) * back for height in (lift, late))
        tip = contact + lift * normal + swing + np.clip(lift / 0.05, 0, 1) * tremor + gone
        hand = contact + self.length_m * grip + self.grip_lift * (late * normal + late_swing) + 0.6 * tremor + gone
        return tip, tip + self.length_m * _unit(hand - tip)

    def elbows_m(self, times_s: np.ndarray, hand: np.ndarray) -> np.ndarray:
        """Return the elbow (K, 3), in metres, at times (K,) for hands (K, 3) of a player outside the picture."""
        normal, grip = _unit(self.normal.at(times_s)), _unit(self.grip.at(times_s))
        elbow = self.contact.at(times_s) + self.length_m * grip + FOREARM_M * _unit(grip + self.bend)
        elbow += self.elbow_lift * self.lift.at(np.asarray(times_s) - self.hand_lag_s)[..., None] * normal
        elbow += 2 * self._tremor(np.asarray(times_s) - 0.2) + self._gone(times_s, grip)
        return hand + FOREARM_M * _unit(elbow - hand)

    def _arc(self, lift: np.ndarray) -> np.ndarray:
        """Return the distance (..., 1) by which a tip that turns about hand and elbow comes back as it rises."""
        radius_m = 1.5 * self.length_m
        return radius_m - np.sqrt(radius_m**2 - np.minimum(lift, 0.9 * radius_m) ** 2)

    def _gone(self, times_s: np.ndarray, grip: np.ndarray) -> np.ndarray:
        return self.away.at(times_s)[..., None] * self.reach_m * (grip + 0.3 * UP)

    def _tremor(self, times_s: np.ndarray) -> np.ndarray:
        rates_hz = np.array([0.4, 1.1, 2.3])
        waves = np.sin(2 * math.pi * rates_hz * np.asarray(times_s)[..., None, None] + self.tremor_phase)
        return self.tremor_m * (waves / (1 + rates_hz)).sum(axis=-1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors (..., 3) with a length of 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def draw_motions(plan: Plan, spec: SyntheticSpec, rng: np.random.Generator) -> list[StickMotion]:
    """Draw the movements of the sticks of a plan.

    Args:
        plan: Events of the clip.
        spec: Form of the clip.
        rng: Random generator.

    Returns:
        The motion of each stick.
    """
    side = rng.choice([-1.0, 1.0])
    return [_Player(plan, spec, rng, side if stick == 0 else -side).motion(stick) for stick in range(plan.n_sticks)]


class _Player:
    """Movement style of one hand."""

    def __init__(self, plan: Plan, spec: SyntheticSpec, rng: np.random.Generator, side: float) -> None:
        self._plan, self._rng, self._duration_s = plan, rng, spec.duration_s
        scene = plan.scene
        limit_m = min(0.4 if rng.random() < 0.7 else 0.7, 0.45 * scene.distance_spans) * scene.span_m
        self._full_m = min(limit_m, log_uniform(rng, (0.12, 0.6)))
        resting = log_uniform(rng, (0.15, 1.2)) if rng.random() < 0.6 else rng.uniform(0.85, 1.15)  # or raised
        self._rest_m = min(limit_m, self._full_m * resting)
        self._fall_s = log_uniform(rng, (0.06, 0.17))  # of the strongest strike
        self._raising = rng.uniform(0.3, 0.9)  # share of the time between strikes in which the stick is raised
        self._clear_m = scene.span_m * 0.07
        self._leaving = float(rng.choice([0.0, 0.6], p=[0.5, 0.5]))
        self._bounce_m = 0.0  # height to which the last hit throws the stick
        is_whole = scene.view == "player"
        self._azimuth = scene.player_rad + (-side * rng.uniform(-0.1, 0.8) if is_whole else side * rng.uniform(0, 0.3))
        self._pitch = math.radians(rng.uniform(5, 40))
        self._lean = 0.0 if is_whole else rng.normal(0, 0.5)  # height of the hand at a wall
        self._shoulder_m = np.array([0.2 * side, 0.5, TABLE_HEIGHT_M + 0.55]) if is_whole else None

    def motion(self, stick: int) -> StickMotion:
        plan, rng = self._plan, self._rng
        everything: list[Event] = [*plan.strikes, *plan.lures]
        events = [event for event in everything if event.stick == stick]
        events.sort(key=lambda event: event.picture_time_s)
        first = events[0].spot if events else plan.strikes[0].spot
        self._lift, self._away = Track.at_rest(self._rest_m), Track.at_rest(0.0)
        self._contact, self._normal = Track.at_rest(first.point_m), Track.at_rest(first.normal)
        self._grip = Track.at_rest(self._grip_of(first))
        free_s = self._begin(events[0].picture_time_s if events else 1.0)
        for event in events:
            free_s = self._do(event, free_s)
        self._pause(free_s, self._duration_s + 2.0)
        for track, value in ((self._lift, self._rest_m), (self._away, 0.0)):
            track.to(self._duration_s + 3.0, value)
        self._move(self._duration_s + 1.0, self._duration_s + 2.0, events[-1].spot if events else first)
        grip_lift = rng.uniform(0.1, 0.9)
        return StickMotion(
            contact=self._contact,
            normal=self._normal,
            grip=self._grip,
            lift=self._lift,
            away=self._away,
            grip_lift=grip_lift,
            elbow_lift=grip_lift * rng.uniform(0, 0.8),
            hand_lag_s=rng.uniform(-0.04, 0.025),
            slant=rng.normal(0, 0.3 if first.normal[2] > 0.5 else 0.6),
            bend=self._bend(first),
            length_m=rng.uniform(0.26, 0.36),
            shoulder_m=self._shoulder_m,
            tremor_m=rng.uniform(0.001, 0.012),
            tremor_phase=rng.uniform(0, 2 * math.pi, (3, 3)),
            reach_m=1.3 * plan.scene.span_m if self._shoulder_m is None else 0.3,
        )

    def _begin(self, first_s: float) -> float:
        """Return the time from which the first event, at `first_s`, is prepared; a hit may have preceded the clip."""
        if self._rng.random() < 0.5:
            return -1.5
        free_s = min(-self._rng.uniform(0.02, 0.8), first_s - 0.3)
        self._lift.to(free_s, 0.0, 2.0)
        self._bounce_m = self._rng.uniform(0.05, 0.3) * self._full_m
        return free_s

    def _grip_of(self, spot: Spot) -> np.ndarray:
        """Draw the direction (3,) from the tip to the hand in contact with a spot: in the surface, and out of it."""
        azimuth, pitch = self._rng.normal([self._azimuth, self._pitch], 0.06)
        towards = np.array([math.cos(azimuth), math.sin(azimuth), self._lean])
        flat = towards - (towards @ spot.normal) * spot.normal
        if np.linalg.norm(flat) < 0.2:  # the player is straight in front
            flat = flat + across_and_along(spot.normal)[1]
        return math.cos(pitch) * flat / np.linalg.norm(flat) + math.sin(max(pitch, 0.08)) * spot.normal

    def _bend(self, spot: Spot) -> np.ndarray:
        """Draw the bend of the wrist (3,), up to 60 degrees; the elbow stays outside the surface and mostly above."""
        bend = self._rng.normal(0, 1, 3)
        bend = bend / np.linalg.norm(bend) * math.tan(min(abs(self._rng.normal(0, 0.45)), 1.05))
        bend[2] = abs(bend[2]) if self._rng.random() < 0.8 else bend[2]
        return bend - min(0.0, float(bend @ spot.normal)) * spot.normal

    def _do(self, event: Event, free_s: float) -> float:
        """Move from `free_s`, the end of the last event, through an event; return the time at which it ends."""
        time_s = event.picture_time_s
        if isinstance(event, Strike) and event.is_rebound:
            self._lift.to(0.5 * (free_s + time_s), 0.35 * self._full_m * event.strength, -2.0)
            self._lift.to(time_s, 0.0, 2.0)
            return time_s
        if self._bounce_m and time_s - free_s > 0.2:
            free_s += min(0.09, 0.25 * (time_s - free_s))
            self._lift.to(free_s, self._bounce_m, -2.0)
        self._bounce_m = 0.0
        is_aside = isinstance(event, Lure) and event.kind in {"air-swing", "hover"}
        spot = self._aside(event.spot) if is_aside else event.spot
        room_s = time_s - free_s
        power = self._rng.uniform(1.7, 2.6)
        speed_m_s = power * self._full_m / self._fall_s * (0.15 + 0.85 * event.strength)
        height_m = self._full_m * event.strength**0.5 * self._rng.uniform(0.75, 1.25)
        fall_s = min(power * height_m / speed_m_s, 0.45 * room_s)
        height_m = max(fall_s * speed_m_s / power, 0.3 * self._clear_m if room_s > 0.25 else 0.0)
        raise_s = max(0.4 * room_s, min(self._raising * room_s, self._rng.uniform(0.2, 0.6)))
        raise_s = min(raise_s, room_s - fall_s)
        if room_s > fall_s + raise_s + 0.3:
            self._pause(free_s, time_s - fall_s - raise_s)
        self._move(min(free_s + 0.05, time_s - fall_s), time_s - 0.9 * fall_s, spot)
        if isinstance(event, Lure):
            return self._lure(event, height_m, fall_s)
        if room_s > 0.5 and self._rng.random() < 0.3:  # raised early
            self._lift.to(time_s - fall_s - self._rng.uniform(0.05, 0.3) * raise_s, 0.95 * height_m)
        self._lift.to(time_s - fall_s, height_m)
        self._lift.to(time_s, 0.0, power)
        if event.action == "scratch":
            self._scratch(event)
        end_s = time_s + max(event.dwell_s, event.duration_s)
        if end_s > time_s:
            self._lift.to(end_s, 0.0)
        else:
            self._bounce_m = self._rng.uniform(0.06, 0.4) * height_m
        return end_s

    def _lure(self, lure: Lure, height_m: float, fall_s: float) -> float:
        """Add a movement without contact: a swing that ends short, a wag, a raised, hovering or turned stick."""
        rng, time_s = self._rng, lure.picture_time_s
        low_m = self._clear_m * rng.uniform(1.0, 2.5)
        if lure.kind == "wag":
            n, half_s = int(rng.integers(2, 6)), rng.uniform(0.08, 0.2)
            size_m = rng.uniform(0.03, 0.12)
            for i in range(2 * n):
                if i * half_s < 0.3:  # it must end before the next event begins
                    self._lift.to(time_s - 0.3 + (i + 1) * half_s, max(low_m, self._rest_m) + (i % 2) * size_m)
            return time_s + half_s
        if lure.kind == "preparation":
            self._lift.to(time_s, max(height_m, low_m) * 1.3)
            return time_s + 0.05
        if lure.kind == "hover":
            self._lift.to(time_s, low_m)
            self._lift.to(time_s + 0.12, low_m * rng.uniform(0.9, 1.2))
            return time_s + 0.12
        if lure.kind == "turn":
            return self._turn(time_s, max(height_m, 2 * low_m))
        fall_s = max(fall_s, 0.06) * rng.uniform(1.0, 1.5)
        self._lift.to(time_s - fall_s, max(height_m, 2 * low_m))
        self._lift.to(time_s, low_m)
        self._lift.to(time_s + rng.uniform(0.5, 1.2) * fall_s, rng.uniform(0.5, 1) * max(height_m, 2 * low_m))
        return self._lift.times_s[-1]

    def _turn(self, time_s: float, height_m: float) -> float:
        """Turn the raised stick and the hand to another direction and back; return the time at which it ends."""
        self._lift.to(time_s, height_m)
        self._lift.to(time_s + 0.25, height_m)
        grip = self._grip.values[-1]
        change, normal = self._rng.normal(0, 0.7, 3), self._normal.values[-1]
        turned = _unit(grip + change + max(0.5, 0.5 - float(change @ normal)) * normal)
        self._grip.to(time_s, turned)
        self._grip.to(time_s + 0.25, grip)
        return time_s + 0.25

    def _pause(self, start_s: float, end_s: float) -> None:
        """Return to rest after a strike and wait; in a long wait the stick may withdraw."""
        rng = self._rng
        back_s = min(rng.uniform(0.12, 0.35), 0.6 * (end_s - start_s))
        self._lift.to(start_s + back_s, self._rest_m * rng.uniform(0.8, 1.2), rng.choice([0.0, -2.0]))
        self._lift.to(max(end_s, start_s + back_s), self._rest_m * rng.uniform(0.8, 1.2))
        if end_s - start_s > 1.0 and rng.random() < self._leaving:
            way_s = rng.uniform(0.2, 0.4) * (end_s - start_s)
            self._away.to(start_s + 0.1, 0.0)
            self._away.to(start_s + way_s, rng.uniform(0.5, 1.0))
            self._away.to(end_s - way_s, float(self._away.values[-1]))
            self._away.to(end_s, 0.0)

    def _move(self, start_s: float, end_s: float, spot: Spot) -> None:
        """Move the contact point to another spot."""
        knots = ((self._contact, spot.point_m), (self._normal, spot.normal), (self._grip, self._grip_of(spot)))
        for track, value in knots:
            track.to(max(start_s, track.times_s[-1]), track.values[-1])
            track.to(max(end_s, start_s + 1e-3), value)

    def _aside(self, spot: Spot) -> Spot:
        """Return a place beside a spot, above the thing's surroundings or in front of the wall."""
        angle = self._rng.uniform(0, 2 * math.pi)
        away = self._plan.scene.span_m * self._rng.uniform(0.15, 0.3)
        across, along = across_and_along(UP if spot.normal[2] > 0 else spot.normal)
        shift = away * (math.cos(angle) * across + 0.5 * math.sin(angle) * along)
        return Spot(spot.point_m + shift, spot.normal, spot.eccentricity)

    def _scratch(self, strike: Strike) -> None:
        """Move the tip to and fro along a line on the surface, with the speed of `sound.scratch_speed`."""
        rng, spot = self._rng, strike.spot
        angle = rng.uniform(0, math.pi)
        across, along = across_and_along(spot.normal)
        length_m = self._plan.scene.span_m * rng.uniform(0.04, 0.14) * (0.5 + strike.strength)
        path = length_m * (math.cos(angle) * across + math.sin(angle) * along)
        path = kept_on(self._plan.scene.things[strike.thing], spot, path)
        self._contact.to(strike.picture_time_s, spot.point_m)
        for stroke, step in itertools.product(range(strike.n_strokes), range(1, _PATH_STEPS + 1)):
            u = step / _PATH_STEPS
            eased = minimum_jerk(u)
            place = spot.point_m + path * (eased if stroke % 2 == 0 else 1 - eased)
            share = (stroke + u) / strike.n_strokes
            self._contact.to(strike.picture_time_s + share * strike.duration_s, place, 1.0)
