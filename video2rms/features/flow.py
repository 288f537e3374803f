"""A small network on optical flow and changes between frames: trained from scratch, without downloads, on a CPU."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.errors import InputError
from video2rms.features.base import FRAME_RATE_HZ, FeatureExtractor
from video2rms.features.blocks import ShiftedBlock, check_channels, down

_HALVINGS = 2
_CELL_PX = 2**_HALVINGS
_N_MAPS = 6
_GRID = (4, 7)  # rows and columns of the pooled grid
_N_PLACED = 32
_MAX_LEVELS = 8
_LEAST_PX, _MAX_PX = 32, 4096
_BACKGROUND_FRAMES, _BACKGROUND_STEP = 30, 10  # on each side
_SPEED_SCALE = 4.0  # per picture width and second
_CHANGE_SCALE = 8.0  # of full brightness


class FlowFeatures(FeatureExtractor):
    """Convolutions over optical flow, changes of brightness, and differences from the background.

    Motion looks the same in rendered and in real pictures, textures and light do not. So the network sees how fast
    things move, where brightness changes and what is not background, but not the picture itself.

    Flow and changes are those between two different frames of the camera, divided by the time between them, and stand
    at every grid time between the two. So a movement looks the same at every frame rate; repeated frames, by the grid
    or in the file, are skipped.

    Each level halves the maps and sees one frame ahead and one back by shifting some channels in time. At the end a
    coarse grid preserves positions, and mean and maximum summarise the whole picture.

    Args:
        n_features: Width D of the features.
        channels: Channels of the levels, at most 8 levels; the first works on cells of 8 pixels.
        size_px: Width and height of the input frames, 32 to 4096 each, multiples of 4.

    Raises:
        InputError: There are too many levels, or a size is outside its range.

    Source:
        Flow: Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016, as in OpenCV. Shifted channels:
            Lin et al., "TSM: Temporal Shift Module for Efficient Video Understanding", ICCV 2019, used for the same
            task in E2E-Spot (arXiv 2207.10213).
    """

    def __init__(
        self,
        n_features: int = 256,
        channels: tuple[int, ...] = (32, 64, 64, 128),
        size_px: tuple[int, int] = (224, 128),
    ) -> None:
        super().__init__()
        for length_px in size_px:
            if not (isinstance(length_px, int) and _LEAST_PX <= length_px <= _MAX_PX and length_px % _CELL_PX == 0):
                raise InputError(
                    f"frames of {size_px} pixels are not possible: give multiples of {_CELL_PX}, {_LEAST_PX} to "
                    f"{_MAX_PX}"
                )
        check_channels(n_features, channels, _MAX_LEVELS)
        self.n_features = n_features
        self.size_px = (size_px[0], size_px[1])
        self.context_frames = _BACKGROUND_FRAMES + len(channels)
        first, *others = channels
        levels: list[nn.Module] = [down(_N_MAPS, first, kernel=5, stride=2), ShiftedBlock(first)]
        for n_in, n_out in zip(channels, others, strict=False):
            if n_out != n_in:
                levels.append(down(n_in, n_out, kernel=3, stride=2))
            levels.append(ShiftedBlock(n_out))
        self.levels = nn.ModuleList(levels)
        self.placed = nn.Conv2d(channels[-1], _N_PLACED, 1)
        self.out = nn.Linear(_N_PLACED * _GRID[0] * _GRID[1] + 2 * channels[-1], n_features)

    def forward(self, frames: Tensor, lateness_s: Tensor) -> Tensor:
        """Return features (B, T, D) of frames (B, T, 3, H, W), uint8, RGB."""
        n_clips, n_frames = frames.shape[:2]
        maps = motion_maps(frames, lateness_s)
        x = maps.flatten(0, 1).to(memory_format=torch.channels_last)
        for level in self.levels:
            x = level(x, n_frames) if isinstance(level, ShiftedBlock) else level(x)
        grid = F.adaptive_avg_pool2d(self.placed(x).relu(), _GRID)
        pooled = torch.cat([grid.flatten(1), x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)
        return self.out(pooled).relu().unflatten(0, (n_clips, n_frames))


@torch.no_grad()
def motion_maps(frames: Tensor, lateness_s: Tensor) -> Tensor:
    """Return what moves in frames, in cells of 4 x 4 pixels.

    Args:
        frames: Frames on a grid of 30 per second (B, T, 3, H, W), uint8, RGB.
        lateness_s: Grid time minus the time at which each frame was shown (B, T), seconds.

    Returns:
        Maps (B, T, 6, H / 4, W / 4), about -3 to 3: mean flow to the right and down, highest speed, mean and highest
        change of brightness, and highest difference from the background.
    """
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        maps = threads.map(_maps_of_clip, frames.cpu(), lateness_s.double().cpu())
        return torch.stack(list(maps)).to(frames.device)


def _maps_of_clip(frames: Tensor, lateness_s: Tensor) -> Tensor:
    """Return the maps (T, 6, h, w) of a clip (T, 3, H, W)."""
    pictures = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames.permute(0, 2, 3, 1).contiguous().numpy()]
    shown_s = np.arange(len(pictures)) / FRAME_RATE_HZ - lateness_s.numpy()
    kept = [0]
    for i in range(1, len(pictures)):
        is_new = shown_s[i] > shown_s[kept[-1]] + 1e-3
        if is_new and not np.array_equal(pictures[i], pictures[kept[-1]]):
            kept.append(i)
    maps = np.zeros((len(pictures), _N_MAPS, *(length // _CELL_PX for length in pictures[0].shape)), np.float32)
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    stamps_s = shown_s[kept]
    times_s = np.arange(len(pictures)) / FRAME_RATE_HZ
    first = 0
    for k in range(1, len(kept)):
        end = int(np.searchsorted(times_s, stamps_s[k] + 1e-6, side="right"))
        if end > first:
            maps[first:end, :5] = _motion(flow, pictures[kept[k - 1]], pictures[kept[k]], stamps_s[k] - stamps_s[k - 1])
            first = end
    maps[:, 5] = _beyond_background(pictures)
    return torch.from_numpy(maps)


def _motion(flow: cv2.DISOpticalFlow, before: np.ndarray, after: np.ndarray, duration_s: float) -> np.ndarray:
    """Return flow, speed and changes (5, h, w) between two pictures (H, W), uint8."""
    height, width = before.shape
    small = (width // _CELL_PX, height // _CELL_PX)
    shift = flow.calc(before, after, None) * np.float32(_SPEED_SCALE / (width * duration_s))  # type: ignore[call-overload]
    speed = np.hypot(shift[..., 0], shift[..., 1])
    change = cv2.absdiff(before, after)
    mean = cv2.resize(change, small, interpolation=cv2.INTER_AREA).astype(np.float32)
    scale = np.float32(_CHANGE_SCALE / (255 * duration_s * FRAME_RATE_HZ))
    maps = [
        *np.moveaxis(cv2.resize(shift, small, interpolation=cv2.INTER_AREA), -1, 0),
        _highest(speed),
        mean * scale,
        _highest(change) * scale,
    ]
    return np.arcsinh(np.stack(maps))


def _highest(picture: np.ndarray) -> np.ndarray:
    """Return the highest value of each cell (h, w), float32."""
    for _ in range(_HALVINGS):
        rows = np.maximum(picture[::2], picture[1::2])
        picture = np.maximum(rows[:, ::2], rows[:, 1::2])
    return picture.astype(np.float32)


def _beyond_background(pictures: list[np.ndarray]) -> np.ndarray:
    """Return the difference (T, h, w) from the mean of seven frames, a third of a second apart."""
    small = np.stack(
        [cv2.resize(p, (p.shape[1] // 2, p.shape[0] // 2), interpolation=cv2.INTER_AREA) for p in pictures]
    )
    small = small.astype(np.int16)
    n_frames = len(small)
    lags = range(-_BACKGROUND_FRAMES, _BACKGROUND_FRAMES + 1, _BACKGROUND_STEP)
    background = sum(small[np.clip(np.arange(n_frames) + lag, 0, n_frames - 1)] for lag in lags)
    beyond = np.abs(small * np.int16(len(lags)) - background)
    rows = np.maximum(beyond[:, ::2], beyond[:, 1::2])
    blocks = np.maximum(rows[..., ::2], rows[..., 1::2])
    return np.arcsinh(blocks.astype(np.float32) * np.float32(_CHANGE_SCALE / (255 * len(lags))))
