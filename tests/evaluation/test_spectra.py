"""Spectral distances against closed forms for scaled sounds, and against librosa."""

import librosa
import numpy as np
import pytest
import torch

from evaluation.spectra import log_mel_db, log_mel_distance_db, stft_distance
from tests.evaluation.conftest import RATE_HZ, clicks, noise


@pytest.mark.parametrize("gain", [0.5, 0.8, 2.0])
def test_a_gain_is_measured_exactly(gain):
    wave = noise(RATE_HZ, n_channels=1)[0]
    distance = stft_distance(gain * wave, wave)
    assert distance.spectral_convergence == pytest.approx(abs(1 - gain), rel=1e-5)
    assert distance.log_magnitude == pytest.approx(abs(np.log(gain)), rel=1e-3)
    assert distance.total == pytest.approx(distance.spectral_convergence + distance.log_magnitude)
    decibels = log_mel_distance_db((gain * wave).numpy(), wave.numpy(), RATE_HZ)
    assert decibels == pytest.approx(abs(20 * np.log10(gain)), rel=1e-3)


def test_stft_distance_equals_librosas():
    a, b = clicks([0.3, 1.1])[0], 0.8 * clicks([0.4, 1.1])[0]
    convergences, logs = [], []
    for n_fft in (512, 1024, 2048):
        first, second = (np.abs(librosa.stft(w.numpy(), n_fft=n_fft)) for w in (a, b))
        convergences.append(np.linalg.norm(first - second) / np.linalg.norm(second))
        logs.append(np.abs(np.log(np.maximum(first, 1e-4)) - np.log(np.maximum(second, 1e-4))).mean())
    distance = stft_distance(a, b)
    assert distance.spectral_convergence == pytest.approx(np.mean(convergences), rel=1e-4)
    assert distance.log_magnitude == pytest.approx(np.mean(logs), rel=1e-4)


def test_equal_sounds_and_silence():
    wave = clicks([0.3])[0]
    assert stft_distance(wave, wave).total == 0
    assert log_mel_distance_db(wave.numpy(), wave.numpy(), RATE_HZ) == 0
    silent = stft_distance(wave, torch.zeros_like(wave))
    assert silent.spectral_convergence is silent.total is None
    assert silent.log_magnitude > 0
    assert stft_distance(torch.zeros_like(wave), wave).spectral_convergence == pytest.approx(1)


def test_mel_levels_have_a_floor():
    assert log_mel_db(np.zeros(RATE_HZ, dtype=np.float32), RATE_HZ) == pytest.approx(-80)
    assert log_mel_db(np.zeros(RATE_HZ, dtype=np.float32), RATE_HZ).shape == (128, 1 + RATE_HZ // 512)
