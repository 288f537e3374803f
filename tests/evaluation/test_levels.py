"""E-L1 against librosa and closed forms, correlation against numpy, loudness against torchaudio and the standard."""

import librosa
import numpy as np
import pytest
import torch
import torchaudio

from evaluation.levels import (
    e_l1_stable_v2a,
    e_l1_video_foley,
    is_silent,
    rms_correlation,
)
from media.levels import count_clipped_runs, loudness_lufs
from media.reading import read_sound
from tests.evaluation.conftest import RATE_HZ, clicks, noise, sine


def librosa_rms(mono, *, video_foley):
    if video_foley:
        mono = np.pad(mono, 192, mode="reflect")
    return librosa.feature.rms(y=mono, frame_length=512, hop_length=128, center=not video_foley)[0]


def pair(rate_hz):
    return clicks([0.5, 1.4], rate_hz=rate_hz), 0.7 * clicks([0.52, 1.9], rate_hz=rate_hz) + noise(3 * rate_hz)


def test_e_l1_of_stable_v2a_is_librosas_rms_at_44_khz():
    a, b = pair(RATE_HZ)
    expected = np.abs(
        librosa_rms(a.mean(0).numpy(), video_foley=False) - librosa_rms(b.mean(0).numpy(), video_foley=False)
    ).mean()
    assert float(e_l1_stable_v2a(a, b, RATE_HZ)) == pytest.approx(expected, rel=1e-5)


def test_e_l1_of_video_foley_is_librosas_rms_at_16_khz():
    a, b = pair(16_000)
    expected = np.abs(
        librosa_rms(a.mean(0).numpy(), video_foley=True) - librosa_rms(b.mean(0).numpy(), video_foley=True)
    ).mean()
    assert float(e_l1_video_foley(a, b, 16_000)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.real
def test_e_l1_of_video_foley_hardly_depends_on_the_resampler(shared):
    """torchaudio's here, soxr's in librosa; white noise up to half the rate would differ by 2 %."""
    waves = [
        read_sound(shared / "real" / "videos" / name, sample_rate_hz=RATE_HZ, duration_s=5.5)
        for name in ("hitting_bag.mp4", "drum.mp4")
    ]
    rms = [
        librosa_rms(librosa.resample(w.mean(0).numpy(), orig_sr=RATE_HZ, target_sr=16_000), video_foley=True)
        for w in waves
    ]
    assert float(e_l1_video_foley(*waves, RATE_HZ)) == pytest.approx(np.abs(rms[0] - rms[1]).mean(), rel=0.003)


@pytest.mark.parametrize("distance", [e_l1_stable_v2a, e_l1_video_foley])
def test_e_l1_of_sines_is_the_difference_of_their_rms(distance):
    assert float(distance(sine(0.5), sine(0.2), RATE_HZ)) == pytest.approx(0.3 / 2**0.5, rel=0.01)
    assert float(distance(sine(0.5), sine(0.5), RATE_HZ)) == 0


@pytest.mark.parametrize("distance", [e_l1_stable_v2a, e_l1_video_foley, rms_correlation])
def test_batches_give_what_single_sounds_give(distance):
    a, b = pair(RATE_HZ)
    batch = distance(torch.stack([a, b]), torch.stack([b, b]), RATE_HZ)
    single = torch.stack([distance(a, b, RATE_HZ), distance(b, b, RATE_HZ)])
    torch.testing.assert_close(batch, single)


def test_rms_correlation_is_pearsons():
    a, b = pair(16_000)
    rms = [librosa_rms(w.mean(0).numpy(), video_foley=True) for w in (a, b)]
    assert float(rms_correlation(a, b, 16_000)) == pytest.approx(np.corrcoef(*rms)[0, 1], abs=1e-6)
    assert float(rms_correlation(a, 0.1 * a, 16_000)) == pytest.approx(1, abs=1e-6)
    assert rms_correlation(a, torch.zeros_like(a), 16_000).isnan()


def test_loudness_of_a_sine_is_that_of_the_standard():
    """BS.1770: 997 Hz at full scale in one channel is -3.01 LUFS; two channels are 3.01 louder."""
    assert loudness_lufs(sine(0.1)[:1], RATE_HZ) == pytest.approx(-23.01, abs=0.1)
    assert loudness_lufs(sine(0.1), RATE_HZ) == pytest.approx(-20.0, abs=0.1)


def test_loudness_equals_torchaudios():
    wave = clicks([0.2, 0.9, 1.1, 2.0], peak=0.3) + noise(3 * RATE_HZ, scale=0.01)
    expected = float(torchaudio.functional.loudness(wave, RATE_HZ))
    assert loudness_lufs(wave, RATE_HZ) == pytest.approx(expected, abs=0.02)


def test_loudness_is_not_defined_in_silence_and_for_short_sounds():
    assert loudness_lufs(torch.zeros(2, RATE_HZ), RATE_HZ) is None
    assert loudness_lufs(sine(0.1, duration_s=0.39), RATE_HZ) is None
    assert loudness_lufs(sine(0.1, duration_s=0.4), RATE_HZ) is not None


def test_only_runs_at_full_scale_are_clipped():
    wave = 0.5 * torch.ones(2, 100)
    wave[0, 10:12] = 1.0
    wave[1, 12] = 1.0
    assert not count_clipped_runs(wave)
    wave[1, 40:43] = -1.0
    assert count_clipped_runs(wave)
    assert count_clipped_runs(sine(1.5).clamp(-1, 1))
    assert not count_clipped_runs(sine(0.99))
    assert not count_clipped_runs(torch.ones(2, 2))


def test_silence_is_below_minus_60_db():
    assert is_silent(torch.zeros(2, 10))
    assert is_silent(sine(0.00099))
    assert not is_silent(sine(0.0011))
