"""Hits ring as long as what they should sound like."""

import math

import numpy as np
import pytest
import torch

from benchmarks.ring import median_rings
from media.reading import read_sound
from stable_foley.generator import Prompts, SoundGenerator
from synthetic.materials import MATERIALS
from tests.hits.test_level import hits
from video2audio.ring import RINGS, ring_of, ring_of_hit, ring_of_sound
from video2rms.levels import Levels
from video2rms.predict import PredictedEnvelope

RATE_HZ = 44_100


@pytest.fixture(scope="module")
def generator():
    """The bundled model."""
    return SoundGenerator.from_checkpoint()


def struck(decay_s, starts_s=(0.2, 1.0, 1.7), duration_s=2.5):
    """Noise that decays after each start (2, N)."""
    time_s = torch.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    shape = sum(torch.exp(-(time_s - start_s).clamp(min=0) / decay_s) * (time_s >= start_s) for start_s in starts_s)
    return 0.3 * shape * torch.randn(2, len(time_s), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("decay_s", [0.02, 0.06, 0.2])
@pytest.mark.parametrize("starts_s", [(0.2, 1.0, 1.7), (0.0,)])
def test_a_sound_rings_as_its_hits_do(decay_s, starts_s):
    ring = ring_of_sound(struck(decay_s, starts_s), RATE_HZ)
    assert ring.decay_s == pytest.approx(decay_s, rel=0.3)
    assert ring.share > 0.8  # nothing but an exponential


@pytest.mark.parametrize("ring_s", [0.05, 0.2])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_strike_and_ring_are_told_apart(ring_s, share):
    """Energies of noises whose decay and share of the first 32 ms are known."""
    time_s = np.arange(RATE_HZ) / RATE_HZ

    def exponential(decay_s, energy):
        wave = np.exp(-time_s / decay_s)
        return wave * np.sqrt(energy / np.sum(wave[: round(0.032 * RATE_HZ)] ** 2))

    energy = exponential(ring_s, share**2) ** 2 + exponential(0.004, 1 - share**2) ** 2
    hit = np.sqrt(energy) * np.where(np.random.default_rng(0).random(RATE_HZ) < 0.5, -1, 1)
    ring = ring_of_hit(hit, RATE_HZ)
    assert ring.share == pytest.approx(share, rel=0.05)
    assert ring.decay_s == pytest.approx(ring_s * (1 + math.log(share) / math.log(10)), rel=0.05)


def test_noise_of_the_background_does_not_ring():
    quiet = 0.3 * 10 ** (-35 / 20) * torch.randn(2, round(2.5 * RATE_HZ), generator=torch.Generator().manual_seed(1))
    ring = ring_of_sound(struck(0.03) + quiet, RATE_HZ)
    assert ring.decay_s == pytest.approx(0.03, rel=0.3)


@pytest.mark.parametrize("seed", range(20))
def test_odd_sounds_have_a_possible_ring_or_none(seed):
    rng = np.random.default_rng(seed)
    parts = [10 ** rng.uniform(-5, 0) * rng.standard_normal(rng.integers(1, 30_000)) for _ in range(rng.integers(1, 6))]
    sound = np.concatenate(parts)
    sound[rng.integers(len(sound))] = 1.0  # a click
    for ring in (ring_of_hit(sound, RATE_HZ), ring_of_sound(torch.from_numpy(sound).float()[None], RATE_HZ)):
        assert ring is None or (0.004 <= ring.decay_s <= 2 and 0.2 <= ring.share <= 1)


def test_a_steady_sound_says_nothing_about_hits():
    steady = 0.1 * torch.randn(1, RATE_HZ, generator=torch.Generator().manual_seed(0))
    assert ring_of_sound(steady, RATE_HZ) is None
    assert ring_of_sound(torch.zeros(2, RATE_HZ), RATE_HZ) is None


def test_words_for_metal_and_glass_ring_longer_than_those_for_cloth(generator):
    metal, glass, cloth = (ring_of(Prompts(text=f"hitting {name}"), generator) for name in ("metal", "glass", "cloth"))
    assert min(metal.decay_s, glass.decay_s) >= 3 * cloth.decay_s
    assert min(metal.share, glass.share) > cloth.share
    assert ring_of(Prompts(), generator) is None


def test_words_and_sounds_meet_halfway(generator):
    sounds = [struck(0.02)]
    words, sound = (ring_of(given, generator) for given in (Prompts(text="hitting metal"), Prompts(sounds=sounds)))
    both = ring_of(Prompts(text="hitting metal", sounds=sounds), generator)
    assert both.decay_s == pytest.approx((words.decay_s * sound.decay_s) ** 0.5, rel=1e-4)
    assert both.share == pytest.approx((words.share * sound.share) ** 0.5, rel=1e-4)


def test_the_table_is_that_of_the_synthetic_clips():
    assert set(RINGS) == set(MATERIALS)
    measured = median_rings(250, 7)
    enough = {name: ring for name, (ring, n_hits) in measured.items() if n_hits >= 20}
    assert len(enough) >= 10
    for name, ring in enough.items():
        assert 0.5 < ring.decay_s / RINGS[name].decay_s < 2, name
        assert abs(ring.share - RINGS[name].share) < 0.2, name


def test_recorded_hits_of_metal_ring_longer_than_those_of_wood(shared):
    def median_decay_s(material):
        sounds = [read_sound(path, sample_rate_hz=RATE_HZ) for path in shared.rglob(f"impacts/{material}_*.flac")]
        return np.median([ring_of_sound(sound, RATE_HZ).decay_s for sound in sounds])

    assert median_decay_s("glass") > 1.5 * median_decay_s("wood")


def test_the_hits_of_an_envelope_ring_longer_and_stay_where_they_are():
    levels = Levels(torch.zeros(250), torch.zeros(250), hits((0.2, 0.3, 0.02), (0.9, 0.3, 0.04), (1.4, 0.2, 0.06)))
    before = PredictedEnvelope(levels, 25)
    after = before.ringing(0.12, 0.5)
    torch.testing.assert_close(after.hits.decay_s, torch.tensor([0.06, 0.12, 0.18]))
    torch.testing.assert_close(after.hits.ring, torch.full((3,), 0.5))
    torch.testing.assert_close(after.onsets_s, torch.tensor([0.0, 0.7, 1.2]))
    torch.testing.assert_close(after.hits.rms, before.hits.rms)
    assert before.ringing(0.12, 1.0).envelope.rms.sum() > 2 * before.envelope.rms.sum()
    assert len(after.envelope.rms) == 225
    silent = PredictedEnvelope(
        Levels(torch.zeros(10), torch.zeros(10), levels.hits[torch.zeros(3, dtype=torch.bool)]), 0
    )
    assert not silent.ringing(0.1, 0.5).envelope.rms.any()
