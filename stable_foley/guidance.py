"""Guidance within one evaluation: the head that a distilled model has for it."""

import torch
from einops import rearrange
from torch import Tensor, nn

from common.errors import InputError, check_range


class GuidanceHead(nn.Module):
    """What a guidance scale adds to v; 0 before any training.

    Guidance is linear in its scale: v + (scale - 1) · (v - v without prompts). So the scale, counted from the middle of
    its range, multiplies a linear function of the last layer's output. ``exp=distill_mini`` teaches a model with this
    head to predict what its teacher predicts with guidance. (The source makes the scale an input of the network. Here,
    that learned a fortieth of the scale's effect in 800 steps.)

    Args:
        width: width of the last layer's output.
        n_channels: channels of the latent.
        patch_size: steps of the latent in a token.
        lowest: smallest guidance scale it is taught, 0 to 100.
        highest: largest one, above ``lowest``.

    Raises:
        InputError: a value is out of its range.

    Source: Meng et al., "On Distillation of Guided Diffusion Models", 2023 (arXiv 2210.03142).
    """

    def __init__(
        self, width: int, n_channels: int, patch_size: int = 1, lowest: float = 1.0, highest: float = 5.0
    ) -> None:
        super().__init__()
        check_range("model.guidance.lowest", lowest, 0, 100)
        check_range("model.guidance.highest", highest, 0, 100)
        if not lowest < highest:
            raise InputError(
                f"model.guidance.highest is {highest}; expected more than the lowest scale {lowest}: raise it."
            )
        self.lowest, self.highest = lowest, highest
        self.patch_size = patch_size
        self.projection = nn.Linear(width, n_channels * patch_size, bias=False)
        nn.init.zeros_(self.projection.weight)

    def check(self, scale: float) -> None:
        """Refuse a scale that the model was not taught.

        Raises:
            InputError: it is outside ``lowest`` to ``highest``.
        """
        if not self.lowest <= scale <= self.highest:
            raise InputError(
                f"cfg_scale (--cfg) is {scale:g}; this model was distilled with scales from {self.lowest:g} to "
                f"{self.highest:g}: give one of these, or a checkpoint that is not distilled."
            )

    def forward(self, hidden: Tensor, scale: Tensor) -> Tensor:
        """Return what is added to v (B, Z, L), for the last layer's output (B, L / patch_size, D) and scales (B,)."""
        weight = self.projection.weight
        added = rearrange(self.projection(hidden.to(weight)), "b t (c p) -> b c (t p)", p=self.patch_size)
        share = (2 * scale - self.lowest - self.highest) / (self.highest - self.lowest)
        return share.to(added)[:, None, None] * added

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw ``n`` scales (n,), evenly distributed."""
        return self.lowest + (self.highest - self.lowest) * torch.rand(n, generator=generator)
