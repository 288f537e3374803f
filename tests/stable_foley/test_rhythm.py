"""Generated levels repeat nothing with the steps of the latent where the level is steady; elsewhere nothing changes."""

import pytest
import torch
from torchaudio.functional import create_dct

from stable_foley.mel_latent import MelLatent
from stable_foley.rhythm import steady_steps, without_rhythm

N_STEPS = 40
RHYTHMS = {3: [0.5, -0.7, 0.2], 8: [0.4, 0.1, -0.3, -0.2, 0.3, -0.1, -0.4, 0.2]}


def as_channels(levels, per_step):
    """Levels (F, T) as cosines over the values of each step (1, F · P, L)."""
    cosines = create_dct(per_step, per_step, norm="ortho")
    values = levels.reshape(len(levels), -1, per_step) @ cosines
    return values.permute(0, 2, 1).reshape(1, -1, values.shape[1])


def everywhere():
    return torch.ones(1, N_STEPS, dtype=torch.bool)


@pytest.mark.parametrize("per_step", [3, 8])
def test_a_rhythm_is_removed_and_the_slope_below_it_stays(per_step):
    slope = torch.linspace(0, -2, N_STEPS * per_step)[None].repeat(4, 1)
    rhythm = torch.tensor(RHYTHMS[per_step]).repeat(N_STEPS)
    with_rhythm = slope + torch.tensor([1.0, -1.0, 0.5, 0.0])[:, None] * rhythm
    found = without_rhythm(as_channels(with_rhythm, per_step), per_step, everywhere())
    torch.testing.assert_close(found, as_channels(slope, per_step), atol=1e-4, rtol=0)


def test_a_single_knock_stays():
    levels = torch.zeros(1, N_STEPS * 3)
    levels[0, 61] = 5.0
    channels = as_channels(levels, 3)
    torch.testing.assert_close(without_rhythm(channels, 3, everywhere()), channels, atol=1e-6, rtol=0)


def test_nothing_changes_where_the_level_is_not_steady():
    channels = torch.randn(1, 12, N_STEPS, generator=torch.Generator().manual_seed(0))
    steady = everywhere()
    steady[:, 20:] = False
    found = without_rhythm(channels, 3, steady)
    assert torch.equal(found[..., 20:], channels[..., 20:])
    assert not torch.equal(found[..., :20], channels[..., :20])


def test_what_is_steady():
    time = torch.arange(N_STEPS * 10)
    level = 0.1 * torch.ones(4, N_STEPS * 10)
    level[1] *= 1 + 0.1 * torch.sin(time / 7)  # by 2 dB
    level[2, 200:] *= 2  # by 6 dB, in the middle
    level[3, 200:] = 0
    steady = steady_steps(level, 10)
    assert steady[:2].all()
    assert steady[2].tolist() == [not 13 <= i < 27 for i in range(N_STEPS)]  # 7 steps on either side
    assert steady[3].tolist() == [i < 13 for i in range(N_STEPS)]
    assert torch.equal(steady_steps(1e-4 * level, 10), steady)


def test_only_steady_latents_change_and_no_step_its_level():
    codec = MelLatent()
    latent = torch.randn(2, codec.n_latent_channels, N_STEPS, generator=torch.Generator().manual_seed(0))
    level = torch.ones(2, N_STEPS * codec.samples_per_step)
    level[0] *= torch.logspace(0, -3, level.shape[-1])  # a decay
    settled = codec.settle(latent, level)
    assert torch.equal(settled[0], latent[0])
    assert not torch.equal(settled[1], latent[1])
    for first, end, per_step in ((0, 240, 3), (240, 304, 8)):
        of_steps = slice(first, end, per_step)
        torch.testing.assert_close(settled[1, of_steps], latent[1, of_steps], atol=1e-4, rtol=0)
