"""What an extractor of features is to the rest of the package."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from common.errors import InputError
from common.weights import weights_sha256


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

    def frozen_id(self) -> str:
        """What tells these features from those of any other extractor: its settings and the checksum of its weights.

        Raises:
            InputError: The extractor is trained, so that its features change from step to step.
        """
        name = type(self).__name__
        if any(parameter.requires_grad for parameter in self.parameters()):
            raise InputError(
                f"{name} is trained together with the rest, so its features cannot be cached: leave out dataset.cache, "
                "or take frozen features with model/features=rgb_flow"
            )
        return f"{name}({self.extra_repr()}) {weights_sha256(self.state_dict())}"
