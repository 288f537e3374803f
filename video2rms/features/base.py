"""What an extractor of features is to the rest of the package."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class FeatureExtractor(nn.Module, ABC):
    """Turns frames at an even rate into features at the same rate.

    Features of a frame depend on frames around it, up to `context_frames` away on each side, and on no others, so that
    a long video can be read in windows.

    Attributes:
        n_features: Width D of the features.
        size_px: Width and height at which frames are given.
        context_frames: How many frames on each side matter.
    """

    n_features: int
    size_px: tuple[int, int]
    context_frames: int

    @abstractmethod
    def forward(self, frames: Tensor) -> Tensor:
        """Features (B, T, D) of frames (B, T, 3, H, W), uint8, RGB."""
