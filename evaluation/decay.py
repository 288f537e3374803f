"""How long a hit is heard, by the energy that is still to come: a level seldom falls steadily, this does.

Sources: M. R. Schroeder, "New Method of Measuring Reverberation Time", 1965; W. T. Chu, "Comparison of Reverberation
Measurements Using Schroeder's Impulse Method and Decay-Curve Averaging Method", 1978 (background subtracted).
"""

import math

import numpy as np

DROP_DB = 20.0
WINDOW_S = 0.002
END_SHARE = 0.1
"""Share of the time after a hit, its end, that holds nothing but the background if it is 20 dB below the peak."""


def energy_to_come(mono: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Return the energy (N,) of a hit that follows each sample, without that of the background.

    Args:
        mono: Sound (N,) from a hit to the next, N above 0.
        sample_rate_hz: Samples a second.
    """
    power = mono.astype(float) ** 2
    per_window = max(1, round(WINDOW_S * sample_rate_hz))
    levels = power[: len(power) // per_window * per_window].reshape(-1, per_window).mean(axis=1)
    background = power[-math.ceil(END_SHARE * len(power)) :].mean()
    it_rings = background > levels.max(initial=0.0) * 10 ** (-DROP_DB / 10)
    if it_rings or power.mean() <= background:  # or something else follows
        background = 0.0
    return np.cumsum((power - background)[::-1])[::-1]


def fall_s(energy: np.ndarray, sample_rate_hz: int) -> float:
    """Return when the energy to come (N,) has first fallen by 20 dB, in seconds; at most its whole duration."""
    below = np.flatnonzero(energy < energy[0] * 10 ** (-DROP_DB / 10))
    return float(below[0] if len(below) else len(energy)) / sample_rate_hz
