"""Room, microphone and background noise: the path from a struck thing to the file.

Sources: Allen & Berkley, "Image method for efficiently simulating small-room acoustics", JASA 65(4), 1979 (early
reflections); an exponential tail of noise whose decay falls with frequency, as in Kuttruff, Room Acoustics.
"""

import math

import numpy as np
import scipy.fft
from scipy.signal import oaconvolve

from synthetic.scene import log_uniform
from synthetic.spec import SAMPLE_RATE_HZ

SOUND_SPEED_M_S = 343.0
EAR_DISTANCE_M = 0.17
_OUTDOORS = frozenset({"grass", "gravel", "dirt", "leaf", "rock", "water"})
_BANDS_HZ = (125, 500, 2000, 8000)
_MICROPHONE_SAMPLES = 2048
_PERIOD_SAMPLES = 1 << 17


def room_response(rng: np.random.Generator, material: str, distance_m: float) -> np.ndarray:
    """Draw the impulse response from a strike to two microphones.

    Args:
        rng: Random generator that draws the room.
        material: Material that is struck. Some materials are usually outdoors, where only the ground reflects.
        distance_m: Distance from the strike to the camera, in metres.

    Returns:
        Impulse response (2, N), float32; the direct sound at sample 0 or up to half a millisecond later.
    """
    outdoors = material in _OUTDOORS and rng.random() < 0.75
    decay_s = log_uniform(rng, (0.08, 0.2)) if outdoors else log_uniform(rng, (0.18, 0.9))
    n_samples = int(min(1.0, decay_s) * SAMPLE_RATE_HZ)
    response = _tail(rng, n_samples, decay_s)
    # the tail's energy is that of the direct sound at the critical distance
    critical_m = rng.uniform(4.0, 12.0) if outdoors else rng.uniform(1.2, 4.0)
    response *= distance_m / critical_m / math.sqrt(np.sum(response**2) / 2)
    _add_early(rng, response, distance_m, outdoors)
    return response


def _tail(rng: np.random.Generator, n_samples: int, decay_s: float) -> np.ndarray:
    """Return noise (2, N) that falls by 60 dB in `decay_s`, and in less time at high frequencies."""
    length = scipy.fft.next_fast_len(n_samples, real=True)
    spectrum = scipy.fft.rfft(rng.standard_normal((2, length), np.float32))
    octave = np.log2(np.maximum(scipy.fft.rfftfreq(length, 1 / SAMPLE_RATE_HZ), 1.0)).astype(np.float32)
    time_s = np.arange(n_samples, dtype=np.float32) / SAMPLE_RATE_HZ
    damping = rng.uniform(0.08, 0.27)
    tail = np.zeros((2, n_samples), np.float32)
    for band, share in enumerate(np.eye(len(_BANDS_HZ))):  # neighbouring bands fade into each other
        weight = np.interp(octave, np.log2(_BANDS_HZ), share).astype(np.float32)
        wave = scipy.fft.irfft(weight * spectrum, length)[:, :n_samples]
        tail += wave * np.exp(-6.9 * time_s / (decay_s * (1 - damping * band))).astype(np.float32)
    start_s = rng.uniform(0.004, 0.015)
    return tail * (1 - np.exp(-((time_s / start_s) ** 2))).astype(np.float32)


def _add_early(rng: np.random.Generator, response: np.ndarray, distance_m: float, outdoors: bool) -> None:
    """Add the direct sound and the first reflections from table, floor, walls and ceiling to `response`, in place."""
    angle = rng.uniform(0, 2 * math.pi)
    ears_m = 0.5 * EAR_DISTANCE_M * np.array([[math.cos(angle), math.sin(angle), 0]] * 2) * [[1], [-1]]
    ears_m[:, 1] -= distance_m
    images_m = [np.zeros(3)]
    for axis in range(3):
        for side in (-1, 1):
            image = np.zeros(3)
            behind_m = distance_m if (axis, side) == (1, -1) else 0.0  # that wall stands behind the camera
            image[axis] = 2 * side * (behind_m + rng.uniform(0.7, 3.0))
            images_m.append(image)
    kept = images_m[:1] + ([np.array([0, 0, -2 * rng.uniform(0.3, 1.5)])] if outdoors else images_m[1:])
    delays_m = np.array([[np.linalg.norm(image - ear) for image in kept] for ear in ears_m])
    reflection = np.append(1.0, rng.uniform(0.3, 0.8, len(kept) - 1))
    first_m = delays_m[:, 0].min()
    for channel in range(2):
        for gain, path_m in zip(reflection, delays_m[channel], strict=True):
            sample = round((path_m - first_m) / SOUND_SPEED_M_S * SAMPLE_RATE_HZ)
            if sample < response.shape[1]:
                response[channel, sample] += gain * first_m / path_m


def microphone(rng: np.random.Generator, frequency_hz: np.ndarray) -> np.ndarray:
    """Return the complex response (K,) of a camera's microphone: a high-pass, two peaks, a shelf and a low-pass.

    Frequencies are warped as by the bilinear transform, so the response belongs to a causal filter.
    """
    s = 1j * SAMPLE_RATE_HZ / math.pi * np.tan(np.minimum(math.pi * frequency_hz / SAMPLE_RATE_HZ, 1.57))
    low_hz, high_hz = log_uniform(rng, (30, 160)), log_uniform(rng, (9000, 24_000))
    response = s**2 / (s**2 + math.sqrt(2) * low_hz * s + low_hz**2)
    response = response * high_hz**2 / (s**2 + math.sqrt(2) * high_hz * s + high_hz**2)
    for _ in range(2):
        centre_hz, width = log_uniform(rng, (300, 9000)), rng.uniform(0.5, 1.5)
        gain = 10 ** (rng.normal(0, 2.5) / 20)
        ratio = s / centre_hz
        response = response * (ratio**2 + width * gain * ratio + 1) / (ratio**2 + width * ratio + 1)
    shelf, treble = s / log_uniform(rng, (1000, 4000)), 10 ** (rng.normal(1, 4) / 20)
    response = response * (1 + treble * shelf) / (1 + shelf)
    return response.astype(np.complex64)


def transfer(wave: np.ndarray, room: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a dry sound (N,) as heard through a room (2, M) and a microphone: (2, N), float32."""
    length = scipy.fft.next_fast_len(room.shape[1] + _MICROPHONE_SAMPLES, real=True)
    colour = microphone(rng, scipy.fft.rfftfreq(length, 1 / SAMPLE_RATE_HZ).astype(np.float32))
    response = scipy.fft.irfft(scipy.fft.rfft(room, length) * colour, length)
    return oaconvolve(wave.astype(np.float32)[None], response, axes=1)[:, : len(wave)]


def background(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Return background noise (2, N), float32, with an RMS of 1: hiss, rumble, mains hum and a fan.

    One period of three seconds is synthesised and repeated; the inverse transform makes it loop without a seam.
    """
    frequency_hz = scipy.fft.rfftfreq(_PERIOD_SAMPLES, 1 / SAMPLE_RATE_HZ)
    slope = rng.uniform(0.2, 1.1)  # of the amplitude: 0 white, 0.5 pink, 1 brown
    shape = (np.maximum(frequency_hz, 40.0) / 1000) ** -slope
    shape[frequency_hz > log_uniform(rng, (5000, 22_050))] *= 0.2
    for _ in range(int(rng.integers(0, 4))):
        centre_hz = log_uniform(rng, (100, 4000))
        shape += rng.uniform(0.5, 3) * shape * np.exp(-(((frequency_hz - centre_hz) / (0.1 * centre_hz)) ** 2))
    if rng.random() < 0.3:
        mains = rng.choice([50.0, 60.0]) * np.arange(1, 4) * _PERIOD_SAMPLES / SAMPLE_RATE_HZ
        shape[mains.astype(int)] *= rng.uniform(20, 100) / np.arange(1, 4)
    parts = rng.standard_normal((3, 2, len(frequency_hz)), np.float32)
    left, right, shared = parts[:, 0] + 1j * parts[:, 1]
    width = rng.uniform(0.1, 0.9)
    spectrum = np.stack([left, right]) * width + (1 - width) * shared
    wave = scipy.fft.irfft(spectrum * shape.astype(np.float32), _PERIOD_SAMPLES)
    wave /= np.sqrt(np.mean(wave**2))
    return np.tile(wave, -(-n_samples // _PERIOD_SAMPLES))[:, :n_samples]
