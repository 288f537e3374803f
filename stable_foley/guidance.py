"""The guidance scale as an input of the model, so that guidance needs no second evaluation."""

import torch
from torch import Tensor, nn

from common.errors import InputError, check_range
from stable_foley.backbone import NumberEmbedder

_N_FEATURES = 64


class GuidanceEmbedding(nn.Module):
    """What a guidance scale adds to the global condition; 0 before any training.

    A model with this was taught by ``exp=distill_mini`` to predict what its teacher predicts with guidance.

    Args:
        width: width of the global condition.
        lowest: smallest guidance scale it is taught, 0 to 100.
        highest: largest one, above ``lowest``.

    Raises:
        InputError: a value is out of its range.

    Source: Meng et al., "On Distillation of Guided Diffusion Models", 2023 (arXiv 2210.03142).
    """

    def __init__(self, width: int, lowest: float = 1.0, highest: float = 4.0) -> None:
        super().__init__()
        check_range("model.guidance.lowest", lowest, 0, 100)
        check_range("model.guidance.highest", highest, 0, 100)
        if not lowest < highest:
            raise InputError(
                f"model.guidance.highest is {highest}; expected more than the lowest scale {lowest}: raise it."
            )
        self.lowest, self.highest = lowest, highest
        self.embedder = NumberEmbedder(features=_N_FEATURES)
        self.projection = nn.Linear(_N_FEATURES, width, bias=False)
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

    def forward(self, scale: Tensor) -> Tensor:
        """Map scales (B,) to additions (B, width)."""
        weight = self.projection.weight
        share = (scale - self.lowest) / (self.highest - self.lowest)
        return self.projection(self.embedder(share.to(weight)))

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw ``n`` scales (n,), evenly distributed."""
        return self.lowest + (self.highest - self.lowest) * torch.rand(n, generator=generator)
