"""The delivered sound: loudness, sample rate, original sound, faded ends."""

import math

import pytest
import torch
import torchaudio.functional

from common.errors import InputError
from media.levels import loudness_lufs, true_peak_db
from media.reading import read_sound
from media.sound import resampled
from media.stored import PART_SAMPLES, StoredSound, loaded, parts
from tests.media.test_levels import ffmpeg_meter, hits
from video2audio import FoleyRequest
from video2audio.finish import FADE_OUT_S, faded, finish
from video2audio.peaks import TRUE_PEAK_DB, at_loudness

RATE_HZ = 44_100


@pytest.mark.parametrize("lufs", [-30.0, -23.0, -16.0])
def test_a_loudness_is_met_below_the_true_peak(lufs):
    result = at_loudness(hits(48_000), 48_000, lufs)
    heard = ffmpeg_meter(result.sound, 48_000)
    assert heard["lufs"] == pytest.approx(lufs, abs=0.2)
    assert heard["peak_db"] <= TRUE_PEAK_DB + 0.1
    assert result.n_clipped == 0


def test_what_no_limiter_reaches_is_said(caplog):
    result = at_loudness(hits(48_000), 48_000, -5.0)
    reached = loudness_lufs(result.sound, 48_000)
    assert reached < -5.5
    assert any(f"{-5 - reached:.1f} LU" in message for message in caplog.messages)
    assert true_peak_db(result.sound) <= TRUE_PEAK_DB + 1e-3


def test_softening_keeps_proportions_and_clipping_keeps_the_loudness():
    sound = hits(48_000)
    softened = at_loudness(sound, 48_000, -10.0, "soften")
    torch.testing.assert_close(softened.sound, sound * 10 ** (softened.gain_db / 20), rtol=1e-4, atol=1e-6)
    assert true_peak_db(softened.sound) == pytest.approx(TRUE_PEAK_DB, abs=1e-3)
    clipped = at_loudness(sound, 48_000, -10.0, "clip")
    assert loudness_lufs(clipped.sound, 48_000) == pytest.approx(-10, abs=0.01)
    assert clipped.n_clipped == int((clipped.sound.abs() > 1).sum()) > 0


def test_silence_stays_silence():
    assert not at_loudness(torch.zeros(1, 48_000), 48_000, -16.0).sound.any()


@pytest.mark.parametrize("rate_hz", [16_000, 48_000, 96_000])
def test_a_tone_keeps_its_phase_and_length_at_another_rate(rate_hz):
    time_s = torch.arange(RATE_HZ, dtype=torch.float64) / RATE_HZ
    result = resampled(torch.sin(2 * math.pi * 1000 * time_s).float()[None], RATE_HZ, rate_hz, rate_hz)
    expected = torch.sin(2 * math.pi * 1000 * torch.arange(rate_hz, dtype=torch.float64) / rate_hz)
    middle = slice(rate_hz // 10, -rate_hz // 10)
    torch.testing.assert_close(result[0, middle].double(), expected[middle], rtol=0, atol=2e-3)
    assert result.shape == (1, rate_hz)


def test_only_the_ends_are_faded():
    sound = torch.ones(2, RATE_HZ)
    result = faded(sound, RATE_HZ)
    n_out = round(FADE_OUT_S * RATE_HZ)
    assert (result[:, 100:-n_out] == 1).all()
    assert result[:, 0].max() < 0.01
    assert result[:, -1].max() < 0.001
    assert (result[0, :100].diff() >= 0).all()
    assert (result[0, -n_out:].diff() <= 0).all()
    assert faded(torch.ones(1, 3), RATE_HZ).shape == (1, 3)


def request(folder, **options):
    return FoleyRequest(folder / "video.mp4", **options)


def test_the_original_sound_is_mixed_in_at_its_gain_and_runs_on_around_the_section(inference_folder):
    wanted = request(inference_folder, start_s=1.0, duration_s=1.0, keep_sound=-6.0)
    added = 0.1 * torch.ones(1, RATE_HZ)
    result = finish(added, RATE_HZ, wanted)
    video = inference_folder / "video.mp4"
    original = read_sound(video, sample_rate_hz=RATE_HZ, duration_s=3.0) * 10 ** (-6 / 20)
    torch.testing.assert_close(result.whole[:, :RATE_HZ], original[:, :RATE_HZ])
    torch.testing.assert_close(result.whole[:, 2 * RATE_HZ :], original[:, 2 * RATE_HZ :])
    middle = slice(RATE_HZ + 1000, 2 * RATE_HZ - 1000)
    torch.testing.assert_close(result.whole[:, middle], original[:, middle] + 0.1)
    assert torch.equal(result.sound, result.whole[:, RATE_HZ : 2 * RATE_HZ])


def test_a_silent_video_has_nothing_to_keep_and_says_so(inference_folder, caplog):
    result = finish(torch.zeros(1, 3 * RATE_HZ), RATE_HZ, FoleyRequest(inference_folder / "silent.mp4", keep_sound=0.0))
    assert result.whole is None
    assert any("silent.mp4" in message for message in caplog.messages)


@pytest.mark.parametrize(
    "options",
    [{"loudness_lufs": -3.0}, {"loudness_lufs": math.nan}, {"keep_sound": 41.0}, {"sample_rate_hz": 44_000}],
)
def test_values_out_of_range_are_named(inference_folder, options):
    (value,) = options.values()
    with pytest.raises(InputError, match=str(value)):
        request(inference_folder, **options).check()


def test_a_sound_too_short_for_a_loudness_is_refused(inference_folder):
    with pytest.raises(InputError, match=r"0\.30 s"):
        request(inference_folder, loudness_lufs=-16.0, duration_s=0.3).check()


@pytest.mark.parametrize("rate_hz", [44_100, 48_000, 22_050])
def test_a_long_sound_is_finished_in_parts_as_if_it_were_whole(rate_hz):
    n_samples = PART_SAMPLES + 100_000
    sound = torch.randn(2, n_samples, generator=torch.Generator().manual_seed(0))
    n_new = round(n_samples * rate_hz / RATE_HZ)
    whole = torchaudio.functional.resample(sound, RATE_HZ, rate_hz, lowpass_filter_width=64)
    for given in (sound, StoredSound.of(parts(sound))):
        result = loaded(resampled(given, RATE_HZ, rate_hz, n_new + 5))
        torch.testing.assert_close(result[:, : n_new - 1], whole[:, : n_new - 1], rtol=1e-5, atol=1e-5)
        assert result.shape[1] == n_new + 5
