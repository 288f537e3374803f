"""The shape of hits against sounds whose shape is known, and against real recordings."""

import numpy as np
import pytest
import torch

from common.errors import InputError
from evaluation.hits import hit_shapes, median_shape, score_hits
from evaluation.metrics import HitDifference
from evaluation.onsets import detect_onsets
from media.reading import read_sound

RATE_HZ = 44_100


def hits(times_s, attack_ms=10.0, decay_ms=80.0, frequency_hz=3000.0, peak=0.5, duration_s=2.0):
    """Tones that rise and fall linearly in dB: 20 dB in `attack_ms`, 20 dB in `decay_ms`."""
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    level_db = np.full(len(time_s), -200.0)
    for hit_s in times_s:
        since_s = time_s - hit_s
        slope = np.where(since_s < 0, 20 * since_s / (attack_ms / 1000), -20 * since_s / (decay_ms / 1000))
        level_db = np.maximum(level_db, slope)
    tone = peak * 10 ** (level_db / 20) * np.sin(2 * np.pi * frequency_hz * time_s)
    return torch.from_numpy(tone).float().expand(2, -1)


def test_every_value_is_what_the_sound_was_made_with():
    (shape,) = hit_shapes(hits([1.0]), RATE_HZ, np.array([1.01]))
    assert shape.attack_ms == pytest.approx(10, abs=1.2)  # a window of 2 ms moves the peak by up to 1 ms
    assert shape.decay_ms == pytest.approx(80, abs=2)
    assert shape.brightness_hz == pytest.approx(3000, rel=0.02)
    assert shape.level_db == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=1)  # of 2 ms around the peak


@pytest.mark.parametrize("attack_ms", [3.0, 20.0, 40.0])
def test_attacks_are_told_apart_wherever_the_detector_puts_the_onset(attack_ms):
    for offset_s in (-0.03, 0.0, 0.04):
        (shape,) = hit_shapes(hits([1.0], attack_ms=attack_ms), RATE_HZ, np.array([1.0 + offset_s]))
        assert shape.attack_ms == pytest.approx(attack_ms, abs=1.5)


def test_a_decay_ends_at_the_next_hit():
    """All but 1 % of the energy, which falls by 20 dB in 2 s and is cut off, is over."""
    first, second = hit_shapes(hits([0.5, 0.9], decay_ms=2000), RATE_HZ, np.array([0.5, 0.9]))
    for shape, end_s in ((first, 0.35), (second, 1.1)):  # from 50 ms before the next, that may be heard already
        share_at_end = 10 ** (-2 * end_s / 2)
        expected_s = -np.log10(share_at_end + 0.01 * (1 - share_at_end))
        assert shape.decay_ms == pytest.approx(1000 * expected_s, abs=3)


def test_a_gap_in_a_ring_does_not_end_it():
    sound = hits([0.5], decay_ms=200).clone()
    sound[:, round(0.52 * RATE_HZ) : round(0.53 * RATE_HZ)] = 0
    (shape,) = hit_shapes(sound, RATE_HZ, np.array([0.5]))
    assert shape.decay_ms == pytest.approx(200, abs=8)


@pytest.mark.parametrize("background_db", [-60, -30])
def test_the_background_is_not_part_of_a_decay(background_db):
    noise = 0.5 * 10 ** (background_db / 20) * torch.randn(2 * RATE_HZ, generator=torch.Generator().manual_seed(0))
    (shape,) = hit_shapes(hits([0.5]) + noise, RATE_HZ, np.array([0.5]))
    assert shape.decay_ms == pytest.approx(80, rel=0.15)


def test_silence_has_no_shape_and_no_hits_have_no_median():
    (shape,) = hit_shapes(torch.zeros(2, RATE_HZ), RATE_HZ, np.array([0.5]))
    assert np.isnan([shape.attack_ms, shape.decay_ms, shape.brightness_hz, shape.level_db]).all()
    assert np.isnan(median_shape([]).attack_ms)


def test_differences_are_of_matched_hits():
    real = hits([0.5, 1.0, 1.5], attack_ms=4, decay_ms=40, frequency_hz=2000, peak=0.4)
    made = hits([0.52, 1.03], attack_ms=14, decay_ms=70, frequency_hz=4000, peak=0.2)
    found = score_hits(real, made, RATE_HZ, np.array([0.5, 1.0, 1.5]), np.array([0.52, 1.03]))
    assert found["hit_attack_difference_ms"] == pytest.approx(10, abs=1.5)
    assert found["hit_decay_difference_ms"] == pytest.approx(30, abs=3)
    assert found["hit_brightness_difference_octaves"] == pytest.approx(1, abs=0.05)
    assert found["hit_level_difference_db"] == pytest.approx(-6, abs=0.5)
    assert found["hit_attack_reference_ms"] == pytest.approx(4, abs=1.5)


def test_the_metric_is_the_mean_over_clips_that_have_matched_hits():
    real = torch.stack([hits([0.5, 1.2], peak=0.4), hits([0.5, 1.2], peak=0.4), torch.zeros(2, 2 * RATE_HZ)])
    made = torch.stack([hits([0.5, 1.2], peak=0.2), hits([0.5, 1.2], peak=0.1), torch.zeros(2, 2 * RATE_HZ)])
    metric = HitDifference("level")
    metric.update(made, real, RATE_HZ)
    assert metric.compute() == pytest.approx((-6.02 - 12.04) / 2, abs=0.1)
    with pytest.raises(InputError, match="colour"):
        HitDifference("colour")


def test_real_strikes_rise_in_milliseconds(shared):
    """Peak levels and attacks of two recordings, as measured independently of this code (0.5 ms and 0.1 dB apart)."""
    for name, level_db in (("hitting_bag", -13.6), ("drum", -5.2)):
        (path,) = shared.rglob(f"{name}.mp4")
        wave = read_sound(path, sample_rate_hz=RATE_HZ)
        shape = median_shape(hit_shapes(wave, RATE_HZ, detect_onsets(wave, RATE_HZ).times_s))
        assert shape.level_db == pytest.approx(level_db, abs=0.15)
        assert shape.attack_ms == pytest.approx(4.5, abs=0.6)
