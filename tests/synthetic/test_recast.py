"""The same strikes on other things, and a sound along the envelope of another."""

import numpy as np
import pytest
import torch

from media.envelope import fine_envelope
from synthetic import SAMPLE_RATE_HZ, SyntheticSpec
from synthetic.clip import plan_clip, render_clip
from synthetic.recast import along, recast
from synthetic.sound import render_sound

SPEC = SyntheticSpec(4.0)


def level_db(wave):
    """Level of each slot of 8 ms, in dB."""
    return 20 * np.log10(fine_envelope(torch.from_numpy(wave), SAMPLE_RATE_HZ).rms.numpy() + 1e-9)


def test_recast_strikes_keep_their_times_and_strengths():
    plan = plan_clip(SPEC, 1, 2)
    other = recast(plan, np.random.default_rng(0), "metal")
    assert (
        {strike.material for strike in other.strikes} == {thing.material for thing in other.scene.things} == {"metal"}
    )
    for old, new in zip(plan.strikes, other.strikes, strict=True):
        assert (old.time_s, old.strength, old.action, old.thing) == (new.time_s, new.strength, new.action, new.thing)


def test_recast_draws_one_thing_for_each_from_the_seed():
    plans = [plan_clip(SPEC, 1, number) for number in range(40)]
    drawn = [recast(plan, np.random.default_rng(3), "wood").scene.things for plan in plans]
    again = [recast(plan, np.random.default_rng(3), "wood").scene.things for plan in plans]
    assert drawn == again
    assert all(len(things) == len(plan.scene.things) for things, plan in zip(drawn, plans, strict=True))
    assert any(len({thing.shape for thing in things}) > 1 for things in drawn)


def test_a_sound_along_itself_is_itself():
    clip = render_clip(SPEC, 1, 3, picture=False)
    assert clip.clean is not None
    wave = clip.clean.numpy()
    np.testing.assert_allclose(along(wave, wave), wave, atol=2e-3 * np.abs(wave).max())


@pytest.mark.parametrize("decay_s", [0.02, 0.1, 0.5])
def test_noise_along_a_decay_decays_like_it(decay_s):
    rng = np.random.default_rng(0)
    time_s = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    like = rng.standard_normal((2, len(time_s))) * np.exp(-time_s / decay_s)
    level = level_db(along(rng.standard_normal((2, len(time_s))), like).astype(np.float32))
    wanted = level_db(like.astype(np.float32))
    heard = wanted > wanted.max() - 60
    assert np.abs(level - wanted)[heard].mean() < 1.0


def test_strikes_on_metal_along_those_on_something_else_are_as_loud_at_each_moment():
    clip = render_clip(SPEC, 1, 4, picture=False)
    assert clip.clean is not None
    rng = np.random.default_rng(0)
    metal = render_sound(recast(clip.plan, rng, "metal"), SPEC, rng).clean
    level, wanted = level_db(along(metal, clip.clean.numpy())), level_db(clip.clean.numpy())
    heard = wanted > wanted.max() - 50
    assert np.abs(level - wanted)[heard].mean() < 1.0 < np.abs(level_db(metal) - wanted)[heard].mean()


def test_silence_stays_silent():
    loud = np.random.default_rng(0).standard_normal((2, 4096))
    assert not along(np.zeros((2, 4096)), loud).any()
    assert not along(loud, np.zeros((2, 4096))).any()
