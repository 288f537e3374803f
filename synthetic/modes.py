"""Modes of struck objects: frequencies by shape and size, damping by material, and the sound of their decay.

Sources: Fletcher & Rossing, The Physics of Musical Instruments, 2nd ed., chapters 2 and 3 (bars, membranes, plates) and
21 (rings and glasses); van den Doel & Pai 1998 and Klatzky et al. 2000 for damping.
"""

import math
from dataclasses import dataclass

import numpy as np

from synthetic.acoustics import SOUND_SPEED_M_S
from synthetic.materials import MATERIALS, Material
from synthetic.scene import Thing, log_uniform
from synthetic.spec import SAMPLE_RATE_HZ

MAX_MODES = 40
HIGHEST_HZ = 16_000.0
LONGEST_S = 3.0
_FADE_S = 0.3
_BLOCK = 256
# square roots of the ratios of eigenvalues: zeros of Bessel functions, Fletcher & Rossing, table 3.1 and section 3.6
MEMBRANE = (1, 1.594, 2.136, 2.296, 2.653, 2.918, 3.156, 3.501, 3.600, 3.652, 4.060, 4.154)
FREE_DISC = (1, 1.73, 2.33, 3.91, 4.11, 6.30, 6.71, 8.10, 9.2, 10.0, 11.6, 12.9, 14.5, 16.0)
FREE_BAR = (1, 2.756, 5.404, 8.933, 13.34, 18.64, 24.82, 31.87, 39.8, 48.6)


@dataclass(frozen=True, eq=False)
class Modes:
    """K damped sinusoids.

    Args:
        frequency_hz: Frequencies (K,).
        decay_per_s: Decay rates of the amplitudes (K,).
        gain: Amplitudes at an average spot (K,).
        phase: Phase of each mode's spatial pattern at the middle of the object (K,), radians.
        wave_number: Change of that phase from the middle to the rim (K,), radians.
    """

    frequency_hz: np.ndarray
    decay_per_s: np.ndarray
    gain: np.ndarray
    phase: np.ndarray
    wave_number: np.ndarray

    def gain_at(self, eccentricity: float) -> np.ndarray:
        """Return the amplitudes (K,) after a strike at a spot between the middle (0) and the rim (1)."""
        return self.gain * np.cos(self.phase + self.wave_number * eccentricity)


def draw_modes(rng: np.random.Generator, thing: Thing) -> Modes:
    """Draw the modes of a thing from its material, shape and size."""
    material = MATERIALS[thing.material]
    frequency_hz = _frequencies_hz(rng, thing, log_uniform(rng, material.wave_speed_m_s))
    frequency_hz = np.sort(frequency_hz * np.exp(rng.normal(0, 0.015, len(frequency_hz))))
    frequency_hz = frequency_hz[(frequency_hz > 40) & (frequency_hz < HIGHEST_HZ)][:MAX_MODES]
    n = len(frequency_hz)
    size_m = max(min(thing.size_m[:2]), 0.02)
    gain = _radiation(frequency_hz, size_m) * frequency_hz**0.85 * np.exp(rng.normal(0, 0.5, n))
    return Modes(
        frequency_hz,
        _decay_per_s(rng, material, frequency_hz),
        gain,
        rng.uniform(0, math.pi, n),
        rng.uniform(0.3, 1.5, n) * np.sqrt(1 + np.arange(n)),
    )


def stick_modes(rng: np.random.Generator) -> Modes:
    """Draw the modes of a drumstick of hickory or maple, about 40 cm long and 14 mm thick, held in a hand."""
    length_m, thickness_m = rng.uniform(0.36, 0.43), rng.uniform(0.012, 0.017)
    first_hz = 1.028 * math.sqrt(12) / 4 * thickness_m * rng.uniform(3900, 4800) / length_m**2
    frequency_hz = first_hz * np.array(FREE_BAR[:6]) * np.exp(rng.normal(0, 0.03, 6))
    decay_per_s = rng.uniform(50, 150) + math.pi * rng.uniform(0.008, 0.02) * frequency_hz
    gain = np.exp(rng.normal(0, 0.5, 6)) * _radiation(frequency_hz, 0.5 * thickness_m)
    return Modes(frequency_hz, decay_per_s, gain, rng.uniform(0, 3, 6), np.ones(6))


def _radiation(frequency_hz: np.ndarray, radius_m: float) -> np.ndarray:
    """Return the share of a body's vibration that is radiated, small where the body is smaller than the wavelength."""
    return frequency_hz / (frequency_hz + SOUND_SPEED_M_S / (2 * math.pi * radius_m))


def _decay_per_s(rng: np.random.Generator, material: Material, frequency_hz: np.ndarray) -> np.ndarray:
    """Draw decay rates from internal friction, which grows with frequency, and support losses, which do not."""
    friction = math.pi * log_uniform(rng, material.loss_factor) * frequency_hz
    supports = log_uniform(rng, material.support_damping_per_s)
    return (supports + friction) * np.exp(rng.normal(0, 0.3, len(frequency_hz)))


def _frequencies_hz(rng: np.random.Generator, thing: Thing, speed_m_s: float) -> np.ndarray:
    """Return the frequencies of free vibration, before irregularities."""
    width, depth, height = thing.size_m
    if thing.shape in {"ground", "wall", "slab", "sheet", "pool"}:
        across = height if thing.shape == "wall" else depth
        thickness_m = {"wall": depth * 0.3, "ground": height}.get(thing.shape, rng.uniform(0.006, 0.02))
        return _plate_hz(speed_m_s, thickness_m, width, across)
    if thing.shape == "rail":
        tube = thing.material == "metal"
        first_hz = 1.028 * math.sqrt(12) * (0.35 if tube else 0.29) * height * speed_m_s / width**2
        return np.concatenate([first_hz * np.array(FREE_BAR), rng.uniform(1.5, 8) * first_hz * np.array(FREE_BAR)])
    if thing.shape in {"cylinder", "vessel"}:
        return _shell_hz(rng, thing, speed_m_s)
    if thing.shape == "disc":
        thickness_m = rng.uniform(0.0015, 0.006)
        return 0.87 * speed_m_s * thickness_m / width**2 * 1.8 * np.array(FREE_DISC)  # a rim stiffens it
    if thing.shape == "drum":
        return log_uniform(rng, (90, 320)) * np.array(MEMBRANE)
    # compact, without a thin direction: the modes of a block are dense and start near c / 2L
    first_hz = rng.uniform(0.25, 0.5) * speed_m_s / (2 * max(width, height))
    return first_hz * np.cumsum(np.append(1.0, rng.exponential(0.35, 23)))


def _plate_hz(speed_m_s: float, thickness_m: float, width_m: float, depth_m: float) -> np.ndarray:
    """Return frequencies of a simply supported plate, thinned out towards high frequencies."""
    m, n = np.meshgrid(np.arange(1, 16), np.arange(1, 16))
    frequency_hz = np.sort((0.453 * speed_m_s * thickness_m * ((m / width_m) ** 2 + (n / depth_m) ** 2)).ravel())
    rank = np.unique(np.geomspace(1, len(frequency_hz), MAX_MODES).astype(int)) - 1
    return frequency_hz[rank]


def _shell_hz(rng: np.random.Generator, thing: Thing, speed_m_s: float) -> np.ndarray:
    """Return frequencies of a cylinder's wall and of the air inside.

    The wall bends like a ring; the bottom and higher patterns along the axis raise its frequencies.
    """
    radius_m = thing.size_m[0] / 2
    wall_m = {
        "metal": rng.uniform(0.0004, 0.0025),
        "wood": rng.uniform(0.008, 0.02),
        "ceramic": rng.uniform(0.0025, 0.006),
    }.get(thing.material, rng.uniform(0.0018, 0.005))
    m = np.arange(2, 8)
    ring_hz = speed_m_s * wall_m / (2 * math.pi * math.sqrt(12) * radius_m**2) * m * (m**2 - 1) / np.sqrt(m**2 + 1)
    axial = np.array([1.0, *np.cumsum(rng.uniform(0.25, 0.8, 2)) + 1])
    split = 1 + rng.uniform(0.0, 0.03)  # a handle or a flaw separates the two modes of a pair
    rings_hz = rng.uniform(1.0, 2.2) * np.outer(axial, ring_hz).ravel()
    air_hz = SOUND_SPEED_M_S / (4 * (thing.size_m[2] + 0.6 * radius_m))
    return np.concatenate([[air_hz], rings_hz, rings_hz[:6] * split])


def ring(modes: Modes, gain: np.ndarray, contact_s: float) -> np.ndarray:
    """Render the sound of modes excited by a contact.

    The force of the contact is a half sine. Its spectrum weakens modes that are fast relative to the contact time, and
    the sound rises during the contact. Damped sinusoids are products of powers, exp(a (256 i + j)) = exp(256 a i) exp(a
    j), so one matrix product gives all samples of all modes.

    Args:
        modes: K modes.
        gain: Their amplitudes (K,).
        contact_s: Contact time in seconds.

    Returns:
        Sound (N,), float32, until all modes are 60 dB below the start of the strongest; at most 3 s.
    """
    weight = gain * half_sine_spectrum(modes.frequency_hz * contact_s)
    level = np.abs(weight) / np.abs(weight).max(initial=1e-12)
    heard_s = np.log(np.maximum(level, 1e-9) * 1e3) / modes.decay_per_s
    n_blocks = max(2, math.ceil(min(heard_s.max(initial=0.0), LONGEST_S) * SAMPLE_RATE_HZ / _BLOCK))
    pole = (-modes.decay_per_s + 2j * math.pi * modes.frequency_hz) / SAMPLE_RATE_HZ
    starts = np.exp(np.outer(np.arange(n_blocks) * _BLOCK, pole)) * (-1j * weight)
    steps = np.exp(np.outer(pole, np.arange(_BLOCK)))
    real = np.concatenate([starts.real, -starts.imag], axis=1).astype(np.float32)
    wave = (real @ np.concatenate([steps.real, steps.imag]).astype(np.float32)).ravel()
    n_rise = max(2, round(contact_s * SAMPLE_RATE_HZ))
    if heard_s.max(initial=0.0) > LONGEST_S:
        n_fade = int(_FADE_S * SAMPLE_RATE_HZ)
        wave[-n_fade:] *= np.linspace(1, 0, n_fade, dtype=np.float32)
    wave[:n_rise] *= np.sin(0.5 * math.pi * np.arange(n_rise)[: len(wave)] / n_rise) ** 2
    return wave


def half_sine_spectrum(cycles: np.ndarray) -> np.ndarray:
    """Return the magnitude of the spectrum of a half sine pulse, relative to that at 0, at frequency × duration."""
    distance = 1 - (2 * cycles) ** 2
    near = np.abs(distance) < 1e-3
    return np.where(near, math.pi / 4, np.abs(np.cos(math.pi * cycles) / np.where(near, 1.0, distance)))
