"""Latents without the rhythm of their steps, which a transformer leaves in sounds that should stay at one level.

Shapes: B batch, F orders over bands, P values of a band in a step, L latent steps.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from torchaudio.functional import create_dct

_N_STEPS_AROUND = 15
"""Steps over which a rhythm is measured, half a second for the mel latent: an odd number."""
_STEADY_DB = 3.0
"""Largest range of a level over these steps that counts as steady."""
_DB_PER_NEPER = 20 / math.log(10)


def steady_steps(level: Tensor, samples_per_step: int) -> Tensor:
    """Return around which latent steps (B, L) a level is above 0 and stays within 3 dB for half a second.

    Args:
        level: Amplitudes (B, N), N = L · samples_per_step.
        samples_per_step: Samples of a latent step.
    """
    per_step = level.unfold(-1, samples_per_step, samples_per_step).square().mean(dim=-1)
    log_level = per_step.log()[:, None] / 2
    half = _N_STEPS_AROUND // 2
    padded = F.pad(log_level, (half, half), mode="replicate")
    highest, lowest = (F.max_pool1d(sign * padded, _N_STEPS_AROUND, stride=1)[:, 0] for sign in (1, -1))
    return _DB_PER_NEPER * (highest + lowest) <= _STEADY_DB  # false for not a number, where all is silent


def without_rhythm(channels: Tensor, per_step: int, steady: Tensor) -> Tensor:
    """Remove from levels what they repeat with every latent step.

    A sound knows nothing of the steps of its latent, so where it is steady, the place within a step should not matter.
    The levels are compared with their moving average over one step, which holds no rhythm. The median of the
    difference at each place, over half a second, is the rhythm; single knocks do not change a median.

    Args:
        channels: Log levels as cosines over the values of each step (B, F · P, L), all of one scale.
        per_step: Number P of values of a step, at least 2.
        steady: Where to do so (B, L).

    Returns:
        Channels (B, F · P, L), unchanged where it is not steady.
    """
    cosines = create_dct(per_step, per_step, norm="ortho").to(channels)  # (P, order)
    levels = rearrange(channels, "b (f p) l -> b f l p", p=per_step) @ cosines.T
    difference = rearrange(
        levels.flatten(2) - _average(levels.flatten(2), per_step), "b f (l p) -> b f p l", p=per_step
    )
    difference = difference.where(steady[:, None, None], torch.nan)
    around = F.pad(difference, (_N_STEPS_AROUND // 2,) * 2, value=torch.nan).unfold(-1, _N_STEPS_AROUND, 1)
    rhythm = around.nanmedian(dim=-1).values.where(steady[:, None, None], 0.0)
    rhythm = rhythm - rhythm.mean(dim=2, keepdim=True)  # the level of each step stays
    return channels - rearrange(cosines.T @ rhythm, "b f p l -> b (f p) l")


def _average(levels: Tensor, n: int) -> Tensor:
    """Return the moving average of levels (B, F, T) over ``n`` values; for an even number both ends count half."""
    half = n // 2
    kernel = levels.new_full((2 * half + 1,), 1 / n)
    if n % 2 == 0:
        kernel[[0, -1]] /= 2
    padded = F.pad(levels, (half, half), mode="replicate").flatten(0, 1)[:, None]
    return F.conv1d(padded, kernel[None, None]).view(levels.shape)
