"""Sounds whose measures are known."""

import numpy as np
import pytest
import torch

RATE_HZ = 44_100


def clicks(times_s, duration_s=3.0, rate_hz=RATE_HZ, peak=0.5):
    """Decaying bursts of noise at the given times, between them faint noise; (2, N), float32."""
    rng = np.random.default_rng(0)
    wave = 1e-4 * rng.standard_normal(round(duration_s * rate_hz))
    for time_s in times_s:
        start = round(time_s * rate_hz)
        elapsed_s = np.arange(len(wave) - start) / rate_hz
        burst = rng.standard_normal(len(elapsed_s)) * np.exp(-elapsed_s / 0.03)
        wave[start:] += peak * burst / np.abs(burst).max()
    return torch.from_numpy(wave).float().expand(2, -1).contiguous()


def sine(amplitude, duration_s=3.0, frequency_hz=997.0, rate_hz=RATE_HZ):
    """A sine (2, N), float32."""
    time_s = torch.arange(round(duration_s * rate_hz), dtype=torch.float64) / rate_hz
    return (amplitude * torch.sin(2 * torch.pi * frequency_hz * time_s)).float().expand(2, -1).contiguous()


def noise(n_samples, seed=0, n_channels=2, scale=0.1):
    return scale * torch.randn(n_channels, n_samples, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def real_pair(shared):
    """The real clip, its annotation, and what the published model made of it."""
    folder = shared / "real" / "greatest_hits_processed"
    return folder, shared / "real" / "reference" / "stable_foley_published_output_000s.wav"
