"""Regions of a sound that are made anew: all else stays bit for bit, and what is new fits."""

import math
from dataclasses import replace

import pytest
import torch
from torchaudio.transforms import MelSpectrogram

from common.errors import InputError
from media.envelope import Envelope, fine_envelope
from media.stored import StoredRows, StoredSound, loaded
from stable_foley.config import build_model
from stable_foley.generator import SoundGenerator
from stable_foley.regions import Generated, changed_regions, regenerate
from stable_foley.sampler import SamplerSettings
from stable_foley.windows import Prompts
from training.config import compose, instantiate

RATE_HZ = 44_100
DURATION_S = 5.0  # of three windows of 2 s
FAST = SamplerSettings(name="euler", n_steps=3, sigma_min=0.05, sigma_max=100.0, cfg_scale=1.0)


@pytest.fixture(scope="module")
def generator():
    config = compose("exp=train_gh_controlnet", "backbone=mini", "dataset.spec.duration_s=2.0")
    model = build_model(config).eval().requires_grad_(False)
    with torch.no_grad():
        for parameter in model.model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    return SoundGenerator(model, instantiate(config.dataset.spec), FAST, device="cpu")


def hits(*times_s, duration_s=DURATION_S):
    """An envelope of decaying hits."""
    slot_s = (torch.arange(round(125 * duration_s)) + 0.5) / 125
    since_s = slot_s[:, None] - torch.tensor(times_s)
    return Envelope((0.3 * torch.exp(-since_s.clamp(min=0) / 0.05) * (since_s >= 0)).sum(dim=1), 125.0)


def generated(generator, envelope, duration_s=DURATION_S, **options):
    return Generated.of(generator.stream(envelope, duration_s, **options))


@pytest.fixture(scope="module")
def before(generator):
    return generated(generator, hits(0.5, 1.5, 2.5, 3.5, 4.5), seed=1)


def test_latents_of_all_pieces_cover_the_sound_and_decode_to_it(generator):
    codec = generator.model.pretransform
    whole = generated(generator, hits(0.5, duration_s=1.5), 1.5, settings=replace(FAST, level_match_db=0.0))
    assert whole.latents.shape[1:] == (2, codec.n_latent_channels)
    decoded = codec.decode(whole.latents[:, 0].T[None])[0, :, : whole.sound.shape[1]]
    torch.testing.assert_close(decoded, whole.sound, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("region", [(1.0, 2.0), (0.0, 0.7), (4.2, 5.0), (0.3, 4.6), (0.0, 5.0), (2.0, 2.01)])
def test_only_the_region_changes(generator, before, region):
    first, last = (round(time_s * RATE_HZ) for time_s in region)
    after = regenerate(generator, before, hits(0.5, 1.5, 2.5, 3.5, 4.5), *region, seed=2)
    assert after.sound.shape == before.sound.shape
    assert after.latents.shape == before.latents.shape
    same = (after.sound == before.sound).all(dim=0)
    assert same[:first].all()
    assert same[last:].all()
    assert same[first:last].float().mean() < 0.1 or last - first < 500
    step = generator.model.pretransform.samples_per_step
    changed = (after.latents != before.latents).flatten(1).any(dim=1).nonzero()[:, 0]
    assert changed.min() >= first // step
    assert changed.max() <= last // step


def test_with_the_same_noise_and_envelope_a_region_becomes_what_it_was(generator):
    """Where all is known and asked for again, the sampler has nothing to change: the window is the one from before."""
    envelope = hits(0.5, 1.2, duration_s=2.0)
    before = generated(generator, envelope, 2.0, seed=3)
    after = regenerate(generator, before, envelope, 0.0, 2.0, keeps_noise=True, seed=9)
    torch.testing.assert_close(after.sound, before.sound, rtol=1e-4, atol=1e-5)


def test_a_region_of_a_stored_sound_is_the_same(generator, before):
    rows = StoredRows(before.latents.shape[1:], torch.float32)
    rows.append(before.latents)
    stored = Generated(StoredSound.of([before.sound]), rows)
    expected = regenerate(generator, before, hits(1.5), 1.2, 2.2, seed=4)
    found = regenerate(generator, stored, hits(1.5), 1.2, 2.2, seed=4)
    assert torch.equal(loaded(found.sound), expected.sound)
    assert torch.equal(found.latents[:], expected.latents)


def test_a_moved_hit_changes_the_sound_around_it_only(generator, before):
    old, new = hits(0.5, 1.5, 2.5, 3.5, 4.5), hits(0.5, 1.5, 2.65, 3.5, 4.5)
    ((start_s, end_s),) = changed_regions(generator, old, new, DURATION_S)
    assert 2.3 < start_s < 2.5
    assert 2.65 < end_s < 3.5
    after = regenerate(generator, before, new, start_s, end_s, keeps_noise=True, seed=1)
    same = (after.sound == before.sound).all(dim=0)
    assert same[: round(start_s * RATE_HZ)].all()
    assert same[round(end_s * RATE_HZ) :].all()


def test_changes_are_found_where_they_are(generator):
    envelope = hits(0.5, 1.5, 2.5, 3.5, 4.5)
    assert changed_regions(generator, envelope, envelope, DURATION_S) == []
    found = changed_regions(generator, envelope, hits(1.5, 2.5, 3.5), DURATION_S)
    assert len(found) == 2
    assert found[0][0] < 0.5 < found[0][1] < 1.5
    assert found[1][0] < 4.5 < found[1][1] <= DURATION_S


@pytest.mark.parametrize("region", [(-0.1, 1.0), (1.0, 1.0), (2.0, 1.0), (4.0, 5.5), (math.nan, 1.0)])
def test_a_region_outside_of_the_sound_is_refused(generator, before, region):
    with pytest.raises(InputError, match=f"{region[1]:g}"):
        regenerate(generator, before, hits(1.0), *region)


def test_the_bundled_model_redoes_a_region_without_a_seam():
    """At its ends the spectrum of a steady sound changes no more than elsewhere, and its level no more."""
    generator = SoundGenerator.from_checkpoint(device="cpu")
    steady, options = Envelope(torch.full((1250,), 0.1), 125.0), {"prompts": Prompts("scratching wood")}
    before = generated(generator, steady, 10.0, **options)
    after = regenerate(generator, before, steady, 3.0, 5.0, seed=7, **options)
    level = MelSpectrogram(RATE_HZ, 2048, hop_length=441, n_mels=64)
    bands_db, bands_before_db = (10 * level(one.sound.mean(dim=0)).clamp(min=1e-8).log10() for one in (after, before))

    def change_db(bands, time_s):
        place = round(100 * time_s)
        return float((bands[:, place - 22 : place - 2] - bands[:, place + 2 : place + 22]).mean(dim=1).abs().mean())

    elsewhere_db = sorted(change_db(bands_before_db, 1 + 0.1 * n) for n in range(80))
    assert max(change_db(bands_db, 3.0), change_db(bands_db, 5.0)) < elsewhere_db[72]  # nine in ten
    rms = fine_envelope(after.sound, RATE_HZ).rms
    level_db = 20 * rms.unfold(0, 25, 25).square().mean(dim=1).sqrt().log10()  # every 0.2 s
    assert level_db[[14, 15, 24, 25]].mean() == pytest.approx(level_db[2:-2].mean(), abs=0.75)
    new, old = (one[:, 330:470].mean(dim=1) for one in (bands_db, bands_before_db))
    assert (new - old).abs().mean() > 1  # it is another sound
