"""The colour of sounds, against filters whose response is known."""

import math

import numpy as np
import pytest
import scipy.signal
import torch

from stable_foley.colour import colour_of, filtered, matching_filter

RATE_HZ = 44_100


def noise(seconds=3.0, seed=0):
    return torch.randn(2, int(seconds * RATE_HZ), generator=torch.Generator().manual_seed(seed))


def through(sound, kind, cutoff_hz, order=1):
    b, a = scipy.signal.butter(order, cutoff_hz, kind, fs=RATE_HZ)
    return torch.from_numpy(scipy.signal.lfilter(b, a, sound.numpy()).astype(np.float32))


@pytest.mark.parametrize(("kind", "cutoff_hz"), [("low", 800), ("high", 2000), ("low", 6000)])
def test_noise_gets_the_colour_of_filtered_noise(kind, cutoff_hz):
    asked, made = through(noise(seed=1), kind, cutoff_hz), noise(seed=2)
    taps = matching_filter([asked], made, RATE_HZ, 40.0)
    found = filtered(made, taps)
    difference_db = 10 * torch.log10(colour_of(found, RATE_HZ) / colour_of(asked, RATE_HZ))
    assert difference_db[2:].abs().max() < 1.5
    plain_db = 10 * torch.log10(colour_of(made, RATE_HZ) / colour_of(asked, RATE_HZ))
    assert plain_db[2:].abs().max() > 10


def test_a_sound_of_the_same_colour_stays_as_it_is():
    made = noise(seed=2)
    taps = matching_filter([made], made, RATE_HZ, 12.0)
    torch.testing.assert_close(filtered(made, taps), made, atol=1e-4, rtol=0)


def test_the_gain_is_limited():
    taps = matching_filter([through(noise(seed=1), "low", 800, 4)], noise(seed=2), RATE_HZ, 6.0)
    response_db = 20 * torch.fft.rfft(taps).abs().log10()
    assert response_db.max() == pytest.approx(6.0, abs=0.2)
    assert response_db.min() == pytest.approx(-6.0, abs=0.2)


@pytest.mark.parametrize("most_db", [1e-9, 3.0, 12.0])
@pytest.mark.parametrize(("kind", "cutoff_hz"), [("low", 200), ("low", 3000), ("high", 400), ("high", 12_000)])
def test_the_power_stays(kind, cutoff_hz, most_db):
    made = through(noise(seed=2), "low", 2000)
    taps = matching_filter([through(noise(seed=1), kind, cutoff_hz, 2)], made, RATE_HZ, most_db)
    assert 20 * math.log10(filtered(made, taps).std() / made.std()) == pytest.approx(0, abs=1.0)


def test_the_filter_has_minimum_phase_so_hits_stay_where_they_are():
    taps = matching_filter([through(noise(seed=1), "high", 3000, 2)], noise(seed=2), RATE_HZ, 20.0)
    energy = taps.square().cumsum(0) / taps.square().sum()
    assert energy[int(0.002 * RATE_HZ)] > 0.95


def test_several_sounds_count_alike_however_loud():
    dark, bright, made = through(noise(seed=1), "low", 500, 2), through(noise(seed=3), "high", 5000, 2), noise(seed=2)
    one = matching_filter([dark, bright], made, RATE_HZ, 12.0)
    other = matching_filter([100 * dark, bright], made, RATE_HZ, 12.0)
    torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_noise_between_hits_is_no_part_of_a_colour():
    hit = through(noise(0.2, seed=1), "low", 500, 2)
    alone = torch.cat([hit, torch.zeros(2, RATE_HZ)], dim=1)
    noisy = alone + 0.001 * noise(alone.shape[1] / RATE_HZ, seed=4)
    torch.testing.assert_close(colour_of(alone, RATE_HZ), colour_of(noisy, RATE_HZ), atol=0.02, rtol=0)


def test_silence_has_no_colour_and_changes_none():
    silence, other = torch.zeros(2, RATE_HZ), noise()
    assert not colour_of(silence, RATE_HZ).any()
    for asked, made in ((silence, other), (other, silence)):
        taps = matching_filter([asked], made, RATE_HZ, 12.0)
        torch.testing.assert_close(filtered(other, taps), other, atol=1e-5, rtol=0)
