"""The log-mel spectrogram against librosa's, its scale, and silence."""

import librosa
import numpy as np
import pytest
import torch

from cavp.spectrogram import LogMel
from media.reading import read_sound


def by_librosa(wave: np.ndarray, n_mels: int = 128, sample_rate_hz: int = 16_000) -> np.ndarray:
    """The chain of SpecVQGAN, which Diff-Foley keeps, step by step; its librosa mirrored the sound at the ends."""
    magnitude = np.abs(librosa.stft(wave, n_fft=1024, hop_length=256, pad_mode="reflect"))
    bands = librosa.filters.mel(sr=sample_rate_hz, n_fft=1024, n_mels=n_mels, fmin=125, fmax=7600)
    level = np.log10(np.maximum(1e-5, bands @ magnitude))
    return np.clip((level * 20 - 20 + 100) / 100, 0, 1).T


@pytest.mark.parametrize(("n_mels", "sample_rate_hz"), [(128, 16_000), (32, 22_050)])
def test_equals_librosa(n_mels, sample_rate_hz):
    generator = torch.Generator().manual_seed(0)
    decay = torch.linspace(0, -12, 64_000).exp()
    wave = torch.stack([torch.randn(64_000, generator=generator) * decay, torch.randn(64_000, generator=generator)])
    log_mel = LogMel(sample_rate_hz, n_mels)(wave)
    assert log_mel.shape == (2, 1, 251, n_mels)
    expected = np.stack([by_librosa(channel, n_mels, sample_rate_hz) for channel in wave.numpy()])
    np.testing.assert_allclose(log_mel[:, 0].numpy(), expected, atol=2e-5)
    assert 0.1 < expected[0].mean() < 0.9  # not at the ends of the scale


def test_equals_librosa_on_a_recording(shared):
    wave = read_sound(shared / "real" / "videos" / "hitting_bag.mp4", sample_rate_hz=16_000, n_channels=1)
    np.testing.assert_allclose(LogMel()(wave)[0, 0].numpy(), by_librosa(wave[0].numpy()), atol=5e-5)


def test_every_band_hears_something():
    assert (LogMel().mel.mel_scale.fb.sum(dim=0) > 0).all()


def test_silence_is_zero_and_no_full_scale_sound_exceeds_one():
    assert (LogMel()(torch.zeros(1, 4000)) == 0).all()
    clicks = torch.zeros(1, 4000)
    clicks[:, ::2] = 1
    log_mel = LogMel()(torch.cat([clicks, torch.ones(1, 4000)]))
    assert log_mel.isfinite().all()
    assert log_mel.max() <= 1


def test_keeps_its_precision_under_autocast():
    wave = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = LogMel()(wave)
    assert under_autocast.dtype == torch.float32
    assert torch.equal(under_autocast, LogMel()(wave))
