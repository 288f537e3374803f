"""The interface of feature extractors."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from common.errors import InputError
from common.weights import weights_sha256

FRAME_RATE_HZ = 30.0


class FeatureExtractor(nn.Module, ABC):
    """A module that turns frames at an even rate into features at the same rate.

    The features of a frame depend only on frames up to `context_frames` away on each side, so that a long video can be
    read in windows.

    Attributes:
        n_features: Width D of the features.
        size_px: Width and height of the input frames.
        context_frames: Number of frames on each side that features depend on.
    """

    n_features: int
    size_px: tuple[int, int]
    context_frames: int

    @abstractmethod
    def forward(self, frames: Tensor, lateness_s: Tensor) -> Tensor:
        """Return features of frames.

        Args:
            frames: Frames on a grid of 30 per second (B, T, 3, H, W), uint8, RGB.
            lateness_s: Grid time minus the time at which each frame was shown (B, T), seconds.

        Returns:
            Features (B, T, D).
        """

    def frozen_id(self) -> str:
        """Return an identifier of these features: the extractor's settings and the checksum of its weights.

        Raises:
            InputError: The extractor is trained, so its features change from step to step.
        """
        name = type(self).__name__
        if any(parameter.requires_grad for parameter in self.parameters()):
            raise InputError(
                f"{name} is trained together with the rest, so its features cannot be cached: leave out dataset.cache, "
                "or use frozen features with model/features=rgb_flow"
            )
        return f"{name}({self.extra_repr()}) {weights_sha256(self.state_dict())}"
