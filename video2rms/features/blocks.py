"""Layers of the networks that learn features from scratch."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.errors import check_range

_MAX_CHANNELS = 8192


def check_channels(n_features: int, channels: Sequence[int], most_levels: int) -> None:
    """Refuse widths of a network outside their ranges.

    Raises:
        InputError: There are too many levels, or a width is outside its range.
    """
    check_range("model.features.n_features", n_features, 1, _MAX_CHANNELS, whole=True)
    check_range("the number of model.features.channels", len(channels), 1, most_levels, whole=True)
    for n_channels in channels:
        check_range("a number in model.features.channels", n_channels, 1, _MAX_CHANNELS, whole=True)


def down(n_in: int, n_out: int, *, kernel: int, stride: int) -> nn.Sequential:
    """Return a convolution that makes maps smaller, with normalisation and ReLU."""
    conv = nn.Conv2d(n_in, n_out, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(n_out), nn.ReLU(inplace=True))


class ShiftedBlock(nn.Module):
    """A residual block in which an eighth of the channels comes from the frame before, and an eighth from the next."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.n_shifted = n_channels // 8
        self.convs = nn.Sequential(
            nn.Conv2d(n_channels, n_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(n_channels, n_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_channels),
        )

    def forward(self, x: Tensor, n_frames: int) -> Tensor:
        """Map (B·T, C, H, W) to the same shape; T is `n_frames`."""
        clips, n = x.unflatten(0, (-1, n_frames)), self.n_shifted
        before = F.pad(clips[:, :-1, :n], (0, 0, 0, 0, 0, 0, 1, 0))
        after = F.pad(clips[:, 1:, n : 2 * n], (0, 0, 0, 0, 0, 0, 0, 1))
        shifted = torch.cat([before, after, clips[:, :, 2 * n :]], dim=2).flatten(0, 1)
        return (x + self.convs(shifted.contiguous(memory_format=torch.channels_last))).relu()
