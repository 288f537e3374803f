"""Sound of one material with the loudness of another: the same strikes elsewhere, and a sound along their envelope."""

from dataclasses import replace

import numpy as np
from scipy.signal import oaconvolve

from synthetic.materials import MATERIALS
from synthetic.plan import Plan
from synthetic.scene import new_thing, pick

_WINDOW_SAMPLES = 256  # 6 ms, over which levels are compared
_FLOOR_DB = -70.0  # of the loudest level: what is softer counts as silence
_LARGEST_GAIN_DB = 40.0


def recast(plan: Plan, rng: np.random.Generator, material: str | None = None) -> Plan:
    """Return a plan with the same strikes on other things.

    Places and spots stay, so the plan can be heard but not seen.

    Args:
        plan: Events of a clip.
        rng: Random generator.
        material: What all things are made of; None: each of a random material.
    """
    span_m = plan.scene.span_m
    things = []
    for thing in plan.scene.things:
        chosen = material or str(rng.choice(sorted(MATERIALS)))
        things.append(new_thing(rng, chosen, pick(rng, MATERIALS[chosen].shapes), span_m, thing.centre_m))
    strikes = tuple(replace(strike, material=things[strike.thing].material) for strike in plan.strikes)
    return replace(plan, scene=replace(plan.scene, things=tuple(things)), strikes=strikes)


def along(wave: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Return a sound (C, N) that is as loud at each moment as another one (C, N), float32.

    It is amplified by at most 40 dB, so where it is silent it stays so.
    """
    level, wanted = _power(wave), _power(like)
    gain = np.sqrt(wanted / (level + 10 ** (_FLOOR_DB / 10) * level.max() + np.finfo(np.float32).tiny))
    return (wave * np.minimum(gain, 10 ** (_LARGEST_GAIN_DB / 20))).astype(np.float32)


def _power(wave: np.ndarray) -> np.ndarray:
    """Return the smoothed power of a sound (C, N) at each sample (N,), at least 0."""
    window = np.hanning(_WINDOW_SAMPLES + 1)
    power = oaconvolve(wave.mean(axis=0).astype(np.float64) ** 2, window / window.sum(), mode="same")
    return np.maximum(power, 0.0)
