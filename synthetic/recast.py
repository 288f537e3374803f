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


def recast(plan: Plan, rng: np.random.Generator, material: str) -> Plan:
    """Return a plan with the same strikes on other things, all of one material.

    Places and spots stay, so the plan can be heard but not seen.

    Args:
        plan: Events of a clip.
        rng: Random generator.
        material: Name in `synthetic.materials.MATERIALS`.
    """
    shapes, span_m = MATERIALS[material].shapes, plan.scene.span_m
    things = tuple(new_thing(rng, material, pick(rng, shapes), span_m, thing.centre_m) for thing in plan.scene.things)
    strikes = tuple(replace(strike, material=material) for strike in plan.strikes)
    return replace(plan, scene=replace(plan.scene, things=things), strikes=strikes)


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
