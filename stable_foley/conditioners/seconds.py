"""Owns the times in seconds that condition Stable Audio Open: the start of a clip and its length."""

import math

from torch import Tensor

from common.errors import InputError
from stable_foley.audio_tools import NumberEmbedder
from stable_foley.conditioners.base import Conditioner


class SecondsConditioner(Conditioner):
    """A number of seconds as a part of the global condition, through learned Fourier features.

    Args:
        output_dim: width of the token.
        max_s: largest number of seconds; larger ones are clipped to it.

    Raises:
        InputError: max_s is not a number above 0.
    """

    place = "global"
    is_prompt = False
    belongs_to_backbone = True
    trained = ("",)

    def __init__(self, output_dim: int, max_s: float = 512.0) -> None:
        super().__init__()
        if not isinstance(max_s, int | float) or not 0 < max_s < math.inf:
            raise InputError(f"max_s of the seconds' conditioners is {max_s!r}; expected a number above 0: correct it.")
        self.max_s = max_s
        self.embedder = NumberEmbedder(features=output_dim)

    def encode(self, raw: Tensor, n_samples: int) -> Tensor:
        """Return seconds (B,) as a fraction of ``max_s``, 0 to 1."""
        del n_samples
        return raw.clamp(0.0, self.max_s) / self.max_s

    def forward(self, embedding: Tensor) -> Tensor:
        """Map fractions (B,) to tokens (B, 1, D)."""
        weight = next(self.embedder.parameters())
        return self.embedder(embedding.to(weight)).unsqueeze(1)
