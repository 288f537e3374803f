"""Sounds that consist of many small events: stones, leaves, crackling paper and bags, drops and bubbles.

Sources: Cook, "Physically informed sonic modeling (PhISM)", Computer Music Journal 21(3), 1997 (collisions at random
times into resonances, with falling energy); Minnaert, "On musical air-bubbles and the sounds of running water", 1933;
van den Doel, "Physically based models for liquid sounds", ACM TAP 2(4), 2005 (damping and rising pitch of bubbles).
"""

import math

import numpy as np
from scipy.signal import lfilter

from synthetic.materials import Material
from synthetic.scene import log_uniform
from synthetic.spec import SAMPLE_RATE_HZ

_RESONANCES = 4
RUSTLE_S = 0.05  # a scratch at full speed for this time triggers as many grains as the strongest hit
MINNAERT_M_HZ = 3.26  # frequency × radius of an air bubble in water near the surface
SMALL_M, LARGE_M = 0.0007, (0.0025, 0.007)  # radii of bubbles


def burst(rng: np.random.Generator, material: Material, strength: float, spread_s: float, start_s: float) -> np.ndarray:
    """Render the grains that one contact triggers.

    Args:
        rng: Random generator for times, sizes and resonances.
        material: Material of the grains.
        strength: Strength of the contact, 0 to 1; a stronger contact triggers more grains.
        spread_s: Time constant in seconds with which the grains thin out.
        start_s: Time of the first grain after the contact, in seconds.

    Returns:
        Sound (N,), float32.
    """
    n_events = max(3, int(rng.poisson(log_uniform(rng, material.grain_count) * strength)))
    after_s = rng.exponential(spread_s, n_events)
    after_s[0] = 0.0
    after_s = after_s[after_s < 4 * spread_s]
    size = rng.standard_exponential(len(after_s)) ** 1.8 * np.exp(-after_s / (1.5 * spread_s))
    return _ring_grains(rng, material, start_s + after_s, size, start_s + 4 * spread_s)


def rustle(rng: np.random.Generator, material: Material, speed: np.ndarray) -> np.ndarray:
    """Render the grains that a moving contact triggers in a material.

    Args:
        rng: Random generator for times, sizes and resonances.
        material: Material of the grains.
        speed: Speed (N,), 0 to 1; a faster contact triggers more and stronger grains.

    Returns:
        Sound (N,), float32.
    """
    path = np.cumsum(speed) / speed.sum()
    n_events = int(rng.poisson(log_uniform(rng, material.grain_count) * speed.sum() / SAMPLE_RATE_HZ / RUSTLE_S)) + 1
    position = np.searchsorted(path, rng.random(n_events))
    size = rng.standard_exponential(n_events) * speed[position]
    return _ring_grains(rng, material, position / SAMPLE_RATE_HZ, size, len(speed) / SAMPLE_RATE_HZ)[: len(speed)]


def _ring_grains(
    rng: np.random.Generator, material: Material, time_s: np.ndarray, size: np.ndarray, end_s: float
) -> np.ndarray:
    """Render grains at times (K,) with sizes (K,) through a few resonances of a material: sound (N,), float32."""
    sign = rng.choice([-1.0, 1.0], len(time_s))
    position = np.rint(time_s * SAMPLE_RATE_HZ).astype(int)
    group = rng.integers(_RESONANCES, size=len(time_s))
    n_samples = round((end_s + 0.02) * SAMPLE_RATE_HZ) + 2
    wave = np.zeros(n_samples)
    for i in range(_RESONANCES):
        here = group == i
        impulses = np.bincount(position[here], weights=(size * sign)[here], minlength=n_samples)
        wave += resonate(impulses, log_uniform(rng, material.grain_hz), log_uniform(rng, material.grain_quality))
    return wave.astype(np.float32)


def resonate(wave: np.ndarray, frequency_hz: float, quality: float) -> np.ndarray:
    """Filter a sound (N,) with a second-order band-pass whose gain is 1 at its centre frequency."""
    angle = 2 * math.pi * frequency_hz / SAMPLE_RATE_HZ
    radius = math.exp(-0.5 * angle / quality)
    return lfilter([1 - radius, 0, radius - 1], [1, -2 * radius * math.cos(angle), radius**2], wave)


def bubbles(rng: np.random.Generator, strength: float) -> np.ndarray:
    """Render the bubbles that a splash leaves behind (N,), float32.

    Many small bubbles come at once; the hollow behind the stick closes later into a few large ones. Their numbers,
    sizes and times are choices of this project.
    """
    n_small, n_large = int(rng.poisson(4 + 16 * strength)), 1 + int(rng.poisson(2.5 * strength))
    start_s = np.concatenate([rng.gamma(2.0, 0.07, n_small), rng.uniform(0.03, 0.4, n_large)])
    start = (start_s * SAMPLE_RATE_HZ).astype(int)
    small_m = np.minimum(SMALL_M * (1 + rng.pareto(1.6, n_small)), LARGE_M[0])
    radius_m = np.concatenate([small_m, rng.uniform(*LARGE_M, n_large)])
    wave = np.zeros(int(0.9 * SAMPLE_RATE_HZ), np.float32)
    for first, radius in zip(start, radius_m, strict=True):
        frequency_hz = MINNAERT_M_HZ / radius
        decay_per_s = 0.13 / radius + 0.0072 * radius**-1.5
        n_samples = min(int(6 / decay_per_s * SAMPLE_RATE_HZ), len(wave) - first)
        if n_samples > 8:
            time_s = np.arange(n_samples, dtype=np.float32) / SAMPLE_RATE_HZ
            rising = rng.uniform(0.02, 0.12) * decay_per_s
            cycles = frequency_hz * time_s * (1 + 0.5 * rising * time_s)
            tone = np.sin(2 * math.pi * cycles) * np.exp(-decay_per_s * time_s)
            tone[:8] *= np.linspace(0, 1, 8)
            wave[first : first + n_samples] += radius**1.2 * tone
    return wave
