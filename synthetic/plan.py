"""Events of a clip: strikes with sound and lures without, in the rhythms in which people hit."""

import math
from dataclasses import dataclass, replace

import numpy as np

from data.greatest_hits import Hit
from synthetic.materials import MATERIALS
from synthetic.scene import Scene, Spot, draw_scene, draw_spot, log_uniform, pick
from synthetic.spec import SyntheticSpec

LEAST_GAP_S = 0.1
KINDS = {"steady": 2.2, "irregular": 0.8, "burst": 0.1, "pairs": 0.12, "pause": 0.4}  # of rhythm, with their weights
MOVE_S = 0.4  # smallest gap in which the stick moves to another spot
LURE_GAP_S = 0.32  # smallest time between a lure and its neighbours
EDGE_S = 0.01  # smallest time from a strike, in sound and picture, to the clip's ends
LURES: dict[str, float] = {"near-miss": 5, "air-swing": 2, "wag": 1.5, "preparation": 2, "hover": 1.5, "turn": 1}


@dataclass(frozen=True, eq=False)
class Strike:
    """One contact with sound.

    Args:
        time_s: Start of its sound, in seconds.
        picture_time_s: Time at which the tip meets the thing in the picture, in seconds.
        strength: Speed of the stick, 0 to 1; the sound's amplitude is proportional to strength ** 1.3.
        material: Material that is struck.
        action: "hit" or "scratch".
        reaction: Reaction of the thing.
        duration_s: Duration of a scratch in seconds; 0 for a hit.
        is_rebound: Whether the stick bounced by itself; annotators do not mark such strikes.
        dwell_s: Time for which the stick then rests on the thing and damps it, in seconds.
        stick: Index of the stick, 0 or 1.
        thing: Index among the scene's things.
        spot: Spot on the thing.
        n_strokes: Strokes of a scratch, to and fro.
    """

    time_s: float
    picture_time_s: float
    strength: float
    material: str
    action: str
    reaction: str
    duration_s: float
    is_rebound: bool
    dwell_s: float
    stick: int
    thing: int
    spot: Spot
    n_strokes: int = 1


@dataclass(frozen=True, eq=False)
class Lure:
    """A silent movement that looks as if a sound would follow; `kind` is one of `LURES`."""

    picture_time_s: float
    kind: str
    strength: float
    stick: int
    spot: Spot


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that sound and picture have in common.

    Args:
        scene: Things and their places.
        strikes: Strikes in order of time, at least one.
        lures: Lures in order of time.
        n_sticks: Number of sticks, 1 or 2.
        offset_s: Sound time minus picture time, in seconds.
    """

    scene: Scene
    strikes: tuple[Strike, ...]
    lures: tuple[Lure, ...]
    n_sticks: int
    offset_s: float

    @property
    def hits(self) -> tuple[Hit, ...]:
        """Strikes that an annotator would mark: all but rebounds, at the times of their sounds."""
        return tuple(
            Hit(strike.time_s, strike.material, strike.action, strike.reaction)
            for strike in self.strikes
            if not strike.is_rebound
        )


def draw_plan(rng: np.random.Generator, spec: SyntheticSpec) -> Plan:
    """Draw the events of a clip.

    Args:
        rng: Random generator.
        spec: Form of the clip.

    Returns:
        The plan.
    """
    scene = draw_scene(rng)
    n_sticks = 1 + int(rng.random() < (0.7 if scene.view == "player" else 0.12))
    offset_s = float(rng.uniform(-spec.max_offset_s, spec.max_offset_s))
    first_s = rng.uniform(0, 0.3) if rng.random() < 0.35 else log_uniform(rng, (0.2, 1.4))
    first_s, last_s = EDGE_S + first_s + max(0.0, -offset_s), spec.duration_s - EDGE_S - max(0.0, offset_s)
    times_s = draw_rhythm(rng, first_s, last_s)
    if len(times_s) == 0:
        times_s = np.array([rng.uniform(0.3, 0.6) * spec.duration_s])
    is_lure = _choose_lures(rng, times_s, spec.lure_share)
    strengths = _draw_strengths(rng, len(times_s)).tolist()
    habits = _Habits(rng, scene, n_sticks)
    strikes: list[Strike] = []
    lures: list[Lure] = []
    gaps_s = np.diff(times_s, append=spec.duration_s + 1.0).tolist()
    for i, time_s in enumerate(times_s.tolist()):
        stick, thing, spot = habits.next_place(rng, gaps_s[i - 1] if i else math.inf)
        if is_lure[i]:
            lures.append(Lure(time_s, pick(rng, LURES), strengths[i], stick, spot))
        else:
            end_s = min(gaps_s[i], spec.duration_s - time_s)
            strikes += habits.strike(rng, time_s, strengths[i], end_s, (stick, thing, spot))
    strikes = [replace(strike, time_s=strike.picture_time_s + offset_s) for strike in strikes]
    return Plan(scene, tuple(strikes), tuple(lures), n_sticks, offset_s)


def draw_rhythm(rng: np.random.Generator, start_s: float, end_s: float) -> np.ndarray:
    """Draw times in seconds (K,) of hits between two times, in steady or irregular stretches, bursts, pairs and pauses.

    Steady stretches drift and jitter as people do (a few per cent of the interval; see Repp, "Sensorimotor
    synchronization: a review of the tapping literature", 2005).
    """
    liking = dict(zip(KINDS, rng.dirichlet(list(KINDS.values())).tolist(), strict=True))
    tempo_s = log_uniform(rng, (0.48, 0.85) if rng.random() < 0.65 else (0.38, 1.4))
    times_s: list[float] = []
    now_s = start_s
    while now_s < end_s:
        for gap_s in _stretch(rng, pick(rng, liking), tempo_s):
            times_s.append(now_s)
            now_s += max(LEAST_GAP_S, gap_s)
        tempo_s *= math.exp(rng.normal(0, 0.1))
    return np.array([time_s for time_s in times_s if time_s < end_s])


def _stretch(rng: np.random.Generator, kind: str, tempo_s: float) -> np.ndarray:
    """Draw the intervals of a stretch, in seconds."""
    n = int(rng.integers(3, 9))
    if kind == "burst":
        fast_s = rng.uniform(0.11, 0.22)
        return np.append(fast_s * np.exp(rng.normal(0, 0.08, n)), rng.uniform(0.5, 1.5))
    if kind == "pairs":
        pairs_s = np.array([rng.uniform(0.13, 0.26), tempo_s])
        return np.tile(pairs_s, n // 2 + 1) * np.exp(rng.normal(0, 0.07, 2 * (n // 2 + 1)))
    if kind == "pause":
        return rng.uniform(1.0, 2.5, 1)
    if kind == "irregular":
        return 0.8 * np.exp(rng.normal(0, 0.4, n))
    drift = np.exp(np.cumsum(rng.normal(0, 0.02, n)))
    return tempo_s * drift * np.exp(rng.normal(0, rng.uniform(0.02, 0.1), n))


def _choose_lures(rng: np.random.Generator, times_s: np.ndarray, share: float) -> np.ndarray:
    """Choose which times are lures (K,): a share of the times without close neighbours, and never all times."""
    before_s = np.diff(times_s, prepend=-1.0)
    after_s = np.diff(times_s, append=times_s[-1] + 1.0)
    free = np.flatnonzero(np.minimum(before_s, after_s) >= LURE_GAP_S)
    n_lures = min(rng.binomial(len(free), share), len(times_s) - 1)
    chosen = np.zeros(len(times_s), bool)
    chosen[rng.permutation(free)[:n_lures]] = True
    return chosen


def _draw_strengths(rng: np.random.Generator, n: int) -> np.ndarray:
    """Draw strengths (K,), 0.12 to 1, around a level of the clip that rises or falls, with some spread."""
    level = log_uniform(rng, (0.3, 0.9)) * np.exp(np.linspace(-1, 1, n) * rng.normal(0, 0.2))
    return np.clip(level * np.exp(rng.normal(0, rng.uniform(0.05, 0.4), n)), 0.12, 1.0)


class _Habits:
    """Style of a clip's player: where it strikes, how often it moves on, scratches, dwells or rebounds."""

    def __init__(self, rng: np.random.Generator, scene: Scene, n_sticks: int) -> None:
        self._scene = scene
        self._n_sticks = n_sticks
        self._scratching = float(rng.choice([0.0, 0.15, 0.9], p=[0.6, 0.28, 0.12]))
        self._dwelling = float(rng.choice([0.03, 0.3, 0.9], p=[0.5, 0.35, 0.15]))
        self._rebounding = float(rng.choice([0.0, 0.15, 0.6], p=[0.5, 0.3, 0.2]))
        self._roving = float(rng.choice([0.1, 0.4, 0.9]))
        self._thing = [int(rng.integers(len(scene.things))) for _ in range(n_sticks)]
        self._spot = [draw_spot(rng, scene.things[thing], scene.span_m) for thing in self._thing]
        self._last = 0

    def next_place(self, rng: np.random.Generator, gap_s: float) -> tuple[int, int, Spot]:
        """Return stick, thing and spot of the event after a gap."""
        stick = self._last
        if self._n_sticks == 2 and (gap_s < 2 * LEAST_GAP_S or rng.random() < 0.6):
            stick = 1 - stick
        self._last = stick
        if gap_s > MOVE_S and rng.random() < self._roving:
            if rng.random() < 0.6:
                self._thing[stick] = int(rng.integers(len(self._scene.things)))
            self._spot[stick] = draw_spot(rng, self._scene.things[self._thing[stick]], self._scene.span_m)
        return stick, self._thing[stick], self._spot[stick]

    def strike(
        self, rng: np.random.Generator, time_s: float, strength: float, gap_s: float, place: tuple[int, int, Spot]
    ) -> list[Strike]:
        """Return a strike with its rebounds; the next event follows after `gap_s`."""
        stick, index, spot = place
        thing = self._scene.things[index]
        material = MATERIALS[thing.material]
        reaction = pick(rng, material.reactions)
        if thing.shape in {"ground", "wall"} and reaction == "rigid-motion":
            reaction = "static"
        strike = Strike(time_s, time_s, strength, thing.material, "hit", reaction, 0.0, False, 0.0, stick, index, spot)
        if gap_s > 0.7 and rng.random() < self._scratching:
            duration_s = float(rng.uniform(0.3, min(1.5, gap_s - 0.3)))
            reaction = {"rigid-motion": "static", "scatter": "static"}.get(reaction, reaction)
            n_strokes = int(rng.integers(1, 2 + int(duration_s / 0.25)))
            return [replace(strike, action="scratch", reaction=reaction, duration_s=duration_s, n_strokes=n_strokes)]
        if rng.random() < self._dwelling:
            return [replace(strike, dwell_s=float(min(0.35 * gap_s, log_uniform(rng, (0.02, 0.5)))))]
        strikes = [strike]
        interval_s, height = rng.uniform(0.09, 0.17), rng.uniform(0.25, 0.5)
        later_s = interval_s
        if rng.random() < self._rebounding and material.grain_db is None:
            while later_s < gap_s - 0.25 and height * strength > 0.06 and len(strikes) < 5:
                after = replace(strike, picture_time_s=time_s + later_s, strength=height * strength, is_rebound=True)
                strikes.append(replace(after, reaction="static"))
                interval_s *= rng.uniform(0.75, 0.95)
                later_s += interval_s
                height *= rng.uniform(0.4, 0.7)
        return strikes
