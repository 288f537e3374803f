"""Owns the level classes: conversion of RMS values to classes and back, and the targets of training."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.errors import InputError

MAX_CLASSES = 65_536
_FADE = (1.25, 2.0)  # start and end of the fade, in multiples of the floor


class LevelBins(nn.Module):
    """RMS values as classes, evenly spaced on a mu-law scale from a floor to full scale.

    Class 0 is everything below the floor and stands for silence, 0. Classes 1 … n_classes - 1 divide the mu-law scale
    from the floor to 1 evenly and are decoded to their centres on that scale. The error of a level above the floor is
    therefore at most half a bin, and 0 on average. Levels of 1 and above belong to the last class.

    Args:
        n_classes: Number of classes K, 3 to 65 536.
        mu: Curvature of the scale ln(1 + mu r) / ln(1 + mu), above 0.
        floor: Level below which a sound counts as silent, above 0 and below 1.

    Raises:
        InputError: A value is outside its range.

    Source:
        Video-Foley (arXiv 2408.11915): 64 classes, mu 63, floor 0.01. There, classes are decoded to an edge, and a
            level of
        1 is beyond the last class.
    """

    edges: Tensor
    centres: Tensor

    def __init__(self, n_classes: int = 64, mu: float = 63.0, floor: float = 0.01) -> None:
        super().__init__()
        if not (3 <= n_classes <= MAX_CLASSES and 0 < mu < math.inf and 0 < floor < 1):
            raise InputError(
                f"{n_classes} classes with mu {mu} from {floor} on are not possible: give 3 to {MAX_CLASSES} classes, "
                "mu above 0 and a floor between 0 and 1"
            )
        self.n_classes = n_classes
        scale = torch.linspace(math.log1p(mu * floor) / math.log1p(mu), 1, n_classes, dtype=torch.float64, device="cpu")
        middles = torch.cat([scale.new_zeros(1), (scale[1:] + scale[:-1]) / 2])
        self.register_buffer("edges", _expand(scale, mu).float(), persistent=False)
        self.register_buffer("centres", _expand(middles, mu).float(), persistent=False)

    def encode(self, rms: Tensor) -> Tensor:
        """Return the classes (...), int64, 0 … K - 1, of RMS values (...), at least 0."""
        return torch.bucketize(rms, self.edges, right=True).clamp(max=self.n_classes - 1)

    def decode(self, classes: Tensor) -> Tensor:
        """Return RMS values (...), float32, of classes (...): 0 or the centre of the bin; the inverse of `encode`."""
        return self.centres[classes]

    def expected_rms(self, logits: Tensor) -> Tensor:
        """Return the mean RMS value (...), float32, under class logits (..., K).

        It fades out from twice the floor to 0 at 1.25 times the floor, so that silence is exactly 0 and levels near the
        floor do not jump.
        """
        rms = logits.float().softmax(dim=-1) @ self.centres
        start, full = _FADE
        return rms * ((rms / self.edges[0] - start) / (full - start)).clamp(0, 1)

    def quantile(self, logits: Tensor, share: Tensor) -> Tensor:
        """Return quantiles (...), float32, of the distributions over levels that class logits (..., K) describe.

        Within a class the level is spread evenly over the bin; below the floor it is 0.

        Args:
            logits: Class logits (..., K).
            share: Share of the distribution below the quantile (...), 0 to 1; 0.5 is the median.
        """
        below = F.pad(logits.double().softmax(dim=-1).cumsum(dim=-1), (1, 0))
        share = share.double()[..., None]
        place = torch.searchsorted(below, share).sub(1).clamp(0, self.n_classes - 1)
        low, high = below.gather(-1, place), below.gather(-1, place + 1)
        start, end = self.edges[(place - 1).clamp(min=0)], self.edges[place]
        rms = torch.lerp(start.double(), end.double(), ((share - low) / (high - low).clamp(min=1e-9)).clamp(0, 1))
        return torch.where(place > 0, rms, 0)[..., 0].float()

    def soft_targets(self, rms: Tensor, width_bins: float = 1.0, reach_bins: int = 2) -> Tensor:
        """Return truncated Gaussians (..., K) over classes, each with sum 1, around the classes of RMS values (...).

        Class 0 has no neighbours: a level just above the floor is close to the floor, but an exact 0 is not close to
        any level.

        Args:
            rms: RMS values (...), at least 0.
            width_bins: Standard deviation in classes, above 0.
            reach_bins: Classes on each side with a weight, at least 0.
        """
        target = self.encode(rms)
        distance = torch.arange(self.n_classes, device=rms.device) - target[..., None]
        weight = torch.exp(-0.5 * (distance / width_bins) ** 2) * (distance.abs() <= reach_bins)
        weight = torch.where((target == 0)[..., None], (distance == 0).to(weight.dtype), weight)
        return weight / weight.sum(dim=-1, keepdim=True)


def _expand(scale: Tensor, mu: float) -> Tensor:
    """Return the RMS values at positions on the mu-law scale."""
    return torch.expm1(scale * math.log1p(mu)) / mu
