"""A small network on changes between frames: trained from scratch, without downloads, fast on a CPU."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.errors import InputError
from video2rms.features.base import FeatureExtractor
from video2rms.features.blocks import ShiftedBlock, check_channels, down

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_GRID = (4, 7)  # rows and columns of the pooled grid
_N_PLACED = 32
_MAX_LEVELS = 16
_MAX_PX = 4096
_BACKGROUND_FRAMES = 30  # on each side
_BACKGROUND_STEP = 10


class MotionFeatures(FeatureExtractor):
    """Convolutions over brightness and its differences from the background, from the last frame and the one before.

    Each level halves the picture (the first one quarters it) and sees one frame ahead and one back by shifting some
    channels in time. At the end a coarse grid preserves positions, and mean and maximum summarise the whole picture.

    Args:
        n_features: Width D of the features.
        channels: Channels of the levels, at most 16 levels.
        size_px: Width and height of the input frames, 16 to 4096 each.

    Raises:
        InputError: There are too many levels, or a size is outside its range.

    Source:
        Shifted channels: Lin et al., "TSM: Temporal Shift Module for Efficient Video Understanding", ICCV 2019.
    """

    def __init__(
        self, n_features: int = 256, channels: tuple[int, ...] = (32, 64, 96), size_px: tuple[int, int] = (112, 64)
    ) -> None:
        super().__init__()
        if not all(isinstance(length_px, int) and 16 <= length_px <= _MAX_PX for length_px in size_px):
            raise InputError(f"frames of {size_px} pixels are not possible: give whole numbers, 16 to {_MAX_PX}")
        check_channels(n_features, channels, _MAX_LEVELS)
        self.n_features = n_features
        self.size_px = (size_px[0], size_px[1])
        self.context_frames = _BACKGROUND_FRAMES + len(channels)
        first, *others = channels
        levels: list[nn.Module] = [down(4, first, kernel=7, stride=4), ShiftedBlock(first)]
        for n_in, n_out in zip(channels, others, strict=False):
            levels += [down(n_in, n_out, kernel=3, stride=2), ShiftedBlock(n_out)]
        self.levels = nn.ModuleList(levels)
        self.placed = nn.Conv2d(channels[-1], _N_PLACED, 1)
        self.out = nn.Linear(_N_PLACED * _GRID[0] * _GRID[1] + 2 * channels[-1], n_features)

    def forward(self, frames: Tensor, lateness_s: Tensor) -> Tensor:
        """Return features (B, T, D) of frames (B, T, 3, H, W), uint8, RGB."""
        n_clips, n_frames = frames.shape[:2]
        x = _changes(frames).flatten(0, 1).permute(0, 3, 1, 2)  # channels last in memory
        for level in self.levels:
            x = level(x, n_frames) if isinstance(level, ShiftedBlock) else level(x)
        grid = F.adaptive_avg_pool2d(self.placed(x).relu(), _GRID)
        pooled = torch.cat([grid.flatten(1), x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)
        return self.out(pooled).relu().unflatten(0, (n_clips, n_frames))


@torch.no_grad()
def _changes(frames: Tensor) -> Tensor:
    """Return brightness -0.5 … 0.5, and differences from background, last frame and the one before: (B, T, H, W, 4).

    The background is the mean of seven frames, a third of a second apart.
    """
    luma = frames[:, :, 0] * _LUMA[0]
    for channel in (1, 2):
        luma.add_(frames[:, :, channel], alpha=_LUMA[channel])
    luma = luma.round_().to(torch.int16)  # sums and differences of whole numbers are exact
    half, n_frames = _BACKGROUND_FRAMES, luma.shape[1]
    first, last = luma[:, :1].expand(-1, half, -1, -1), luma[:, -1:].expand(-1, half, -1, -1)
    extended = torch.cat([first, luma, last], dim=1)
    lags = range(0, 2 * half + 1, _BACKGROUND_STEP)
    background = sum(extended[:, lag : lag + n_frames] for lag in lags)
    one_ago, two_ago = (extended[:, half - lag : half - lag + n_frames] for lag in (1, 2))
    parts = [
        (luma - 128, 1 / 255),
        (luma * len(lags) - background, 3 / (255 * len(lags))),
        (luma - one_ago, 4 / 255),
        (luma - two_ago, 4 / 255),
    ]
    dtype = torch.get_autocast_dtype(luma.device.type) if torch.is_autocast_enabled(luma.device.type) else torch.float32
    return torch.stack([part.to(dtype).mul_(scale) for part, scale in parts], dim=-1)
