"""Levels compared: against the metrics of sounds, and closed forms."""

import numpy as np
import pytest
import torch

from evaluation.levels import e_l1_video_foley, rms_44khz, rms_correlation
from media.envelope import fine_envelope
from video2rms.metrics import level_metrics

RATE_HZ = 44_100


def sounds(n_samples=2 * RATE_HZ):
    rng = np.random.default_rng(0)
    time_s = np.arange(n_samples) / RATE_HZ
    loudness = np.exp(-4 * np.stack([time_s % 0.5, (time_s + 0.2) % 0.7]))[:, None]
    return torch.from_numpy((0.1 * rng.standard_normal((2, 2, n_samples)) * loudness).astype(np.float32))


def test_two_of_them_are_those_of_sounds():
    generated, reference = sounds(), sounds().flip(0)
    levels, true = (fine_envelope(wave, RATE_HZ).rms for wave in (generated, reference))
    found = level_metrics(levels, true, rms_44khz(reference, RATE_HZ))
    torch.testing.assert_close(found["e_l1"], e_l1_video_foley(generated, reference, RATE_HZ))
    torch.testing.assert_close(found["rms_correlation"], rms_correlation(generated, reference, RATE_HZ).float())


@pytest.mark.parametrize("n_samples", [2 * RATE_HZ, 128 * 600, 128 * 600 + 1])
def test_a_level_that_changes_slowly_is_the_same_at_both_rates(n_samples):
    time_s = torch.arange(n_samples) / RATE_HZ
    loudness = 0.3 + 0.1 * torch.sin(2 * torch.pi * time_s)
    wave = (loudness * torch.sin(2 * torch.pi * 1000 * time_s)).expand(1, 2, -1)
    levels, true = fine_envelope(wave, RATE_HZ).rms, rms_44khz(wave, RATE_HZ)
    assert level_metrics(levels, levels, true)["e_l1_44khz"] < 2e-3  # windows of 11.6 ms see less of a period
    silent = level_metrics(torch.zeros_like(levels), levels, true)["e_l1_44khz"]
    torch.testing.assert_close(silent, true.mean(dim=-1))


def test_e_l1_at_44khz_sees_a_delay():
    time_s = torch.arange(2 * RATE_HZ) / RATE_HZ
    loudness = 0.3 + 0.2 * torch.sin(2 * torch.pi * 3 * time_s)
    reference = (loudness * torch.sin(2 * torch.pi * 1000 * time_s)).expand(1, 2, -1)
    levels, true = fine_envelope(reference, RATE_HZ).rms, rms_44khz(reference, RATE_HZ)
    distances = [float(level_metrics(levels.roll(n, -1), levels, true)["e_l1_44khz"]) for n in (-2, -1, 0, 1, 2)]
    assert np.argmin(distances) == 2


def test_a_constant_level_correlates_with_nothing():
    levels = fine_envelope(sounds(), RATE_HZ).rms
    found = level_metrics(torch.full_like(levels, 0.1), levels, rms_44khz(sounds(), RATE_HZ))
    assert found["rms_correlation"].abs().max() < 1e-3
