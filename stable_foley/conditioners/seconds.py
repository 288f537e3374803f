"""Owns the numbers in seconds that Stable Audio Open is conditioned on: where a clip starts and how long it is."""

from torch import Tensor, nn

from stable_foley.backbone import NumberEmbedder


class SecondsConditioner(nn.Module):
    """A number of seconds as one token, by learned Fourier features.

    Args:
        output_dim: width of the token.
        max_s: largest number of seconds; larger ones count as this.
    """

    def __init__(self, output_dim: int, max_s: float = 512.0) -> None:
        super().__init__()
        self.max_s = max_s
        self.embedder = NumberEmbedder(features=output_dim)

    def embed(self, seconds: Tensor) -> Tensor:
        """Seconds (B,) → the same as a fraction of ``max_s``, 0 to 1."""
        return seconds.clamp(0.0, self.max_s) / self.max_s

    def forward(self, fraction: Tensor) -> Tensor:
        """Fraction (B,) → token (B, 1, D)."""
        weight = next(self.embedder.parameters())
        return self.embedder(fraction.to(weight)).unsqueeze(1)
