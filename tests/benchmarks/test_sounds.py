"""The benchmarks' measures on sounds made so that the answer is known, and their judge of materials."""

import numpy as np
import pytest
import torch

from benchmarks.control import interval
from benchmarks.material_forest import MaterialForest, features
from benchmarks.sounds import lag_s, level_db, pre_echo_db, pulsation_db, shifted, silenced
from media.envelope import Envelope
from synthetic import SAMPLE_RATE_HZ, SyntheticSpec, render_clip

HITS_S = np.array([0.5, 1.5, 1.7, 2.5])


def clicks(times_s, before_db=None, duration_s=3.0):
    """Decaying noise at each time; before each, from 30 ms on, steady noise at a level below its peak."""
    rng = np.random.default_rng(0)
    wave = np.zeros(round(duration_s * SAMPLE_RATE_HZ))
    for time_s in times_s:
        start = round(time_s * SAMPLE_RATE_HZ)
        wave[start : start + 2000] += rng.choice([-1.0, 1.0], 2000) * np.exp(-np.arange(2000) / 300)
        if before_db is not None:
            wave[start - 1323 : start] += rng.choice([-1.0, 1.0], 1323) * 10 ** (before_db / 20)
    return torch.from_numpy(wave).float().expand(2, -1)


def test_a_pre_echo_is_measured_where_hits_stand_alone():
    assert pre_echo_db(clicks(HITS_S, -30.0), HITS_S) == pytest.approx([-30.0] * 3, abs=0.3)
    assert pre_echo_db(clicks(HITS_S), HITS_S)[0] < -100
    assert len(pre_echo_db(clicks([0.05, 1.0]), np.array([0.05, 1.0]))) == 1
    assert pre_echo_db(torch.zeros(2, SAMPLE_RATE_HZ), np.array([0.5])) == []


def test_a_hit_somewhat_late_is_still_found():
    assert pre_echo_db(clicks(HITS_S + 0.02, -40.0), HITS_S) == pytest.approx([-40.0] * 3, abs=0.3)


@pytest.mark.parametrize("shift_s", [-0.2, 0.0, 0.504])
def test_lag(shift_s):
    assert lag_s(clicks(HITS_S - 0.1), clicks(HITS_S - 0.1 + shift_s)) == pytest.approx(shift_s, abs=0.009)


@pytest.mark.parametrize("rate_hz", [44_100 / 1536, 44_100 / 512])
def test_a_pulsation_stands_out_of_steady_noise(rate_hz):
    generator = torch.Generator().manual_seed(0)
    time_s = torch.arange(10 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    found_db = {}
    for depth in (0.0, 0.05, 0.1):
        noises = torch.randn(10, 1, len(time_s), generator=generator)
        pulse = 1 + depth * torch.sin(2 * torch.pi * rate_hz * time_s)
        found_db[depth] = np.mean([pulsation_db(noise * pulse, rate_hz) for noise in noises])
    assert abs(found_db[0.0]) < 4
    assert found_db[0.05] > 10
    assert found_db[0.1] == pytest.approx(found_db[0.05] + 6, abs=1.5)


def test_level_and_edits_of_envelopes():
    sound = torch.cat([torch.full((2, SAMPLE_RATE_HZ), 0.5), torch.full((2, SAMPLE_RATE_HZ), 0.05)], dim=1)
    assert level_db(sound, 1.0) == pytest.approx(-26.02, abs=0.01)
    assert level_db(torch.zeros(2, 100)) == -120
    envelope = Envelope(torch.arange(1.0, 251.0), 125.0)
    assert shifted(envelope, 0.504).rms[[0, 62, 63, 64]].tolist() == [1, 1, 1, 2]
    assert silenced(envelope, 1.0).rms[[124, 125]].tolist() == [125, 0]


def test_intervals_of_shares_never_vanish():
    low, high = interval([1.0] * 20)
    assert high == 1
    assert low == pytest.approx(0.839, abs=0.001)  # Wilson: 1 / (1 + 1.96² / 20)
    low, high = interval([1.0, 2.0, 3.0] * 4)
    assert low < 2 < high
    assert interval([1.0, 2.0, 3.0]) is None


def test_the_forest_knows_the_clips_it_learned_from_at_any_level():
    forest = MaterialForest(n_clips=12, seed=11, duration_s=4.0)
    spec = SyntheticSpec(4.0, max_offset_s=0.0)
    for number in range(4):
        clip = render_clip(spec, 11, number, picture=False)
        material = clip.plan.hits[0].material
        hits_s = np.array([hit.time_s for hit in clip.plan.hits if hit.material == material])
        assert forest.heard(clip.clean, hits_s) == material
    quieter = features(0.5 * clip.clean, hits_s)
    assert np.abs(features(clip.clean, hits_s) - quieter).mean() < 1.5  # but for the floor at -80 dB
