"""Hits ring as long as what they should sound like."""

import pytest
import torch

from benchmarks.ring import median_decays_s
from stable_foley.generator import Prompts, SoundGenerator
from synthetic.materials import MATERIALS
from tests.hits.test_level import hits
from video2audio.ring import DECAYS_S, ring_of_sound, ring_s
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
    assert ring_of_sound(struck(decay_s, starts_s), RATE_HZ) == pytest.approx(decay_s, rel=0.3)


def test_a_steady_sound_says_nothing_about_hits():
    steady = 0.1 * torch.randn(1, RATE_HZ, generator=torch.Generator().manual_seed(0))
    assert ring_of_sound(steady, RATE_HZ) is None


def test_words_for_metal_and_glass_ring_longer_than_those_for_cloth(generator):
    metal, glass, cloth = (ring_s(Prompts(text=f"hitting {name}"), generator) for name in ("metal", "glass", "cloth"))
    assert metal >= 2.4 * cloth
    assert glass >= 3 * cloth
    assert ring_s(Prompts(), generator) is None


def test_words_and_sounds_meet_halfway(generator):
    words, sound = ring_s(Prompts(text="hitting metal"), generator), ring_s(Prompts(sounds=[struck(0.02)]), generator)
    both = ring_s(Prompts(text="hitting metal", sounds=[struck(0.02)]), generator)
    assert both == pytest.approx((words * sound) ** 0.5, rel=1e-4)


def test_the_table_is_that_of_the_synthetic_clips():
    assert set(DECAYS_S) == set(MATERIALS)
    measured = median_decays_s(250, 7)
    enough = {name: decay_s for name, (decay_s, n_hits) in measured.items() if n_hits >= 20}
    assert len(enough) >= 10
    assert all(0.5 < decay_s / DECAYS_S[name] < 2 for name, decay_s in enough.items())


def test_the_hits_of_an_envelope_ring_longer_and_stay_where_they_are():
    levels = Levels(torch.zeros(250), torch.zeros(250), hits((0.2, 0.3, 0.02), (0.9, 0.3, 0.04), (1.4, 0.2, 0.06)))
    before = PredictedEnvelope(levels, 25)
    after = before.ringing(0.12)
    torch.testing.assert_close(after.hits.decay_s, torch.tensor([0.06, 0.12, 0.18]))
    torch.testing.assert_close(after.onsets_s, torch.tensor([0.0, 0.7, 1.2]))
    torch.testing.assert_close(after.hits.rms, before.hits.rms)
    assert after.envelope.rms.sum() > 2 * before.envelope.rms.sum()
    assert len(after.envelope.rms) == 225
    silent = PredictedEnvelope(
        Levels(torch.zeros(10), torch.zeros(10), levels.hits[torch.zeros(3, dtype=torch.bool)]), 0
    )
    assert not silent.ringing(0.1).envelope.rms.any()
