"""Noise taken out in blocks: the same as all at once, less noise, and strikes that stay."""

import noisereduce
import numpy as np
import pytest

from data.denoise import Denoiser
from media.reading import read_sound

SAMPLE_RATE_HZ = 44_100


def denoised(wave, piece_samples, sample_rate_hz=SAMPLE_RATE_HZ):
    """A sound (C, N) denoised as it comes in pieces."""
    denoiser = Denoiser(sample_rate_hz)
    pieces = [denoiser.push(wave[:, i : i + piece_samples]) for i in range(0, wave.shape[1], piece_samples)]
    return np.concatenate([*pieces, denoiser.finish()], axis=1)


def strikes_in_noise(duration_s, noise_level=0.003):
    """Tones that decay, and the same with noise of its own in each channel."""
    n_samples = round(SAMPLE_RATE_HZ * duration_s)
    time_s = np.arange(n_samples) / SAMPLE_RATE_HZ
    clean = 0.5 * np.sin(2 * np.pi * 900 * time_s) * np.exp(-12 * (time_s % 1.3))
    noise = noise_level * np.random.default_rng(0).standard_normal((2, n_samples))
    return clean, (clean + noise).astype(np.float32)


def level_db(wave):
    return 10 * np.log10(np.mean(np.square(wave, dtype=np.float64)))


@pytest.fixture(scope="module")
def long_sound():
    """Forty seconds, more than three blocks."""
    return strikes_in_noise(40.01)


def test_blocks_are_the_sound_denoised_at_once(long_sound):
    _, noisy = long_sound
    start = round(1.0 * SAMPLE_RATE_HZ)  # silent but for noise, and told to noisereduce as such
    noisy = noisy.copy()
    noisy[:, :2] = 0
    noise = noisy[:, start : start + 6 * (SAMPLE_RATE_HZ // 20)] * 0.5
    noisy[:, start : start + noise.shape[1]] = noise  # the quietest stretch
    expected = [
        noisereduce.reduce_noise(
            channel, SAMPLE_RATE_HZ, stationary=True, y_noise=quiet, chunk_size=None, n_fft=1024, padding=2048,
            freq_mask_smooth_hz=100, time_mask_smooth_ms=12,
        )
        for channel, quiet in zip(noisy, noise, strict=True)
    ]  # fmt: skip
    found = denoised(noisy, 10_007)
    assert found.shape == noisy.shape
    np.testing.assert_allclose(found, np.stack(expected), rtol=0, atol=1e-6)


def test_the_result_does_not_depend_on_the_pieces(long_sound):
    _, noisy = long_sound
    np.testing.assert_array_equal(denoised(noisy, 4096), denoised(noisy, noisy.shape[1]))


def test_noise_goes_and_strikes_stay(long_sound):
    clean, noisy = long_sound
    found = denoised(noisy, 44_100)
    assert level_db(found - clean) < level_db(noisy - clean) - 5
    assert np.abs(found).max() == pytest.approx(np.abs(noisy).max(), rel=0.05)
    shift = np.correlate(found[0, 1000:90_000], noisy[0, 1100:80_000].astype(found.dtype)).argmax()
    assert shift == 100


def test_a_long_scratch_is_no_noise():
    noisy = strikes_in_noise(12.0)[1]
    scratch = slice(5 * SAMPLE_RATE_HZ, 9 * SAMPLE_RATE_HZ)
    noisy[:, scratch] += 0.05 * np.random.default_rng(1).standard_normal((2, 4 * SAMPLE_RATE_HZ)).astype(np.float32)
    found = denoised(noisy, 44_100)
    assert level_db(found[:, scratch]) > level_db(noisy[:, scratch]) - 1


@pytest.mark.parametrize("n_samples", [1, 100, 1024, 13_000])
def test_what_is_too_short_is_left_as_it_is(n_samples):
    noisy = strikes_in_noise(1.0)[1][:, :n_samples]
    np.testing.assert_array_equal(denoised(noisy, 64), noisy)


def test_silence_stays_silence():
    assert not denoised(np.zeros((2, 50_000), np.float32), 1000).any()


@pytest.mark.parametrize("sample_rate_hz", [8_000, 8_003, 11_025, 48_000, 96_000, 192_000])
def test_every_rate_that_is_allowed(sample_rate_hz):
    noise = np.random.default_rng(0).standard_normal((2, 2 * sample_rate_hz)).astype(np.float32)
    found = denoised(noise, 10_000, sample_rate_hz)
    assert found.shape == noise.shape
    assert level_db(found) < level_db(noise) - 5


@pytest.mark.real
def test_real_hits_keep_their_level(shared):
    (path,) = (shared / "real" / "greatest_hits_processed").glob("*/audio/*.wav")
    wave = read_sound(path, sample_rate_hz=SAMPLE_RATE_HZ).numpy()
    levels_db = [
        np.sort([level_db(part) for part in np.array_split(sound[0], 200)]) for sound in (wave, denoised(wave, 44_100))
    ]
    change_db = levels_db[1] - levels_db[0]
    assert change_db[-20:].mean() > -0.5
    assert change_db[:40].mean() < -15
