"""Features by two published networks: a video network trained on Kinetics for pictures, and RAFT for motion."""

from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model, get_model_weights

from common.errors import InputError
from common.pickles import UNREADABLE
from common.weights import load_into
from video2rms.features.base import FeatureExtractor

FLOWS = ("raft_small", "raft_large")
_RGB = "mc3_18"
_RGB_CHANNELS = 512
_RGB_CONTEXT_FRAMES = 5  # the stem and the four convolutions of the first layer see one frame on each side
_GRID = (4, 7)  # rows and columns of the flow's statistics
_N_STATISTICS = 4
_PIECE_FRAMES = 32  # whose activations are in memory at once
_LEAST_PX, _MULTIPLE_PX = 128, 8  # side of RAFT's input frames


class RgbFlowFeatures(FeatureExtractor):
    """Features of every frame by a frozen video network, and statistics of the optical flow from the frame before.

    RGB: the last activations of MC3-18, averaged over the picture. Among torchvision's networks trained on Kinetics,
    only this one has no temporal stride, so every frame has its own features and the weights are used as they were
    trained. (They were trained at 15 frames per second; at 30, motion looks half as fast.)

    Flow: RAFT from each frame to the next, as mean flow, mean speed and highest speed in each cell of a coarse grid. A
    second network trained on pictures would not fit flow as its input. A sound depends on where something moves, how
    fast, and whether it stops. Values x, in pixels of the given size per frame, are compressed to sign(x) ln(1 + |x|).
    If a frame is repeated on the grid of 30 per second, the flow there is zero; `Video2Rms` recognises repeated frames
    by their lateness. The first frame is compared with itself.

    The networks are never trained, stay in eval mode and compute in float32, one clip after the other in pieces of 32
    frames. Features therefore depend neither on the batch nor on the precision of a training.

    Args:
        flow: "raft_small" or "raft_large".
        size_px: Width and height of the input frames, multiples of 8 and at least 128.
        flow_updates: Number of RAFT's refinements of the flow, at least 1.
        random_weights: True draws the weights instead of loading them, for tests only.

    Raises:
        InputError: A value is outside its range, or published weights are neither on disk nor available for download.

    Source:
        Video-Foley (arXiv 2408.11915) and RMS-Mapper (arXiv 2412.15023): RGB and RAFT flow at 30 frames per second,
            there
        through other networks. MC3: Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition",
        CVPR 2018. RAFT: Teed and Deng, ECCV 2020. Weights: torchvision.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        flow: str = "raft_small",
        size_px: tuple[int, int] = (224, 128),
        flow_updates: int = 12,
        random_weights: bool = False,
    ) -> None:
        super().__init__()
        if flow not in FLOWS or flow_updates < 1:
            raise InputError(
                f"flow {flow} with {flow_updates} updates is not possible: give one of {FLOWS} and at least 1 update"
            )
        if any(length_px < _LEAST_PX or length_px % _MULTIPLE_PX for length_px in size_px):
            raise InputError(
                f"frames of {size_px[0]}x{size_px[1]} pixels do not fit RAFT: give multiples of {_MULTIPLE_PX}, at "
                f"least {_LEAST_PX}"
            )
        self.n_features = _RGB_CHANNELS + _N_STATISTICS * _GRID[0] * _GRID[1]
        self.size_px = (size_px[0], size_px[1])
        self.context_frames = _RGB_CONTEXT_FRAMES
        self.flow_updates = flow_updates
        self._settings = f"{_RGB}, {flow}, size_px={self.size_px}, flow_updates={flow_updates}"
        network: Any = _network(_RGB, random_weights)
        self.rgb = nn.Sequential(network.stem, network.layer1, network.layer2, network.layer3, network.layer4)
        self.flow = _network(flow, random_weights)
        preset = get_model_weights(_RGB).DEFAULT.transforms()
        self.register_buffer("mean", torch.tensor(preset.mean, device="cpu").view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preset.std, device="cpu").view(3, 1, 1), persistent=False)
        self.requires_grad_(False).train()

    def extra_repr(self) -> str:
        """Return the settings."""
        return self._settings

    def train(self, mode: bool = True) -> Self:
        """Keep the networks in eval mode for any `mode`."""
        del mode
        return super().train(False)

    @torch.no_grad()
    def forward(self, frames: Tensor, lateness_s: Tensor) -> Tensor:
        """Return features (B, T, D), float32, of frames (B, T, 3, H, W), uint8, RGB."""
        pieces = range(0, frames.shape[1], _PIECE_FRAMES)
        with torch.autocast(frames.device.type, enabled=False):
            return torch.stack([torch.cat([self._piece(clip, first) for first in pieces]) for clip in frames])

    def _piece(self, clip: Tensor, first: int) -> Tensor:
        """Return features (n, D) of the frames of a clip (T, 3, H, W) from `first` on, at most 32."""
        last = min(first + _PIECE_FRAMES, len(clip))
        begin = max(0, first - _RGB_CONTEXT_FRAMES)
        seen = clip[begin : last + _RGB_CONTEXT_FRAMES].float() / 255
        rgb = self.rgb(((seen - self.mean) / self.std).transpose(0, 1)[None])[0].mean(dim=(2, 3)).T
        later = 2 * seen[first - begin : last - begin] - 1
        before = clip[first - 1 : first] if first else clip[:1]
        earlier = torch.cat([2 * (before.float() / 255) - 1, later[:-1]])
        flow = self.flow(earlier, later, num_flow_updates=self.flow_updates)[-1]
        return torch.cat([rgb[first - begin : last - begin], flow_statistics(flow)], dim=1)


def flow_statistics(flow: Tensor) -> Tensor:
    """Summarise a flow on a coarse grid.

    Args:
        flow: Motion to the right and down (n, 2, H, W) in pixels.

    Returns:
        Mean motion to the right and down, mean speed and highest speed in 4 rows of 7 cells each (n, 4 · 28), every
        value x as sign(x) ln(1 + |x|).
    """
    speed = flow.norm(dim=1, keepdim=True)
    means = F.adaptive_avg_pool2d(torch.cat([flow, speed], dim=1), _GRID)
    statistics = torch.cat([means, F.adaptive_max_pool2d(speed, _GRID)], dim=1).flatten(1)
    return statistics.sign() * statistics.abs().log1p()


def _network(name: str, random_weights: bool) -> nn.Module:
    """Build a network of torchvision, with the weights that torchvision recommends or with random ones."""
    network = get_model(name, weights=None)
    if not random_weights:
        weights = get_model_weights(name).DEFAULT
        load_into(network, _state_dict(weights), source=weights.url)
    return network


def _state_dict(weights: WeightsEnum) -> dict[str, Tensor]:
    """Return published weights from torch's download folder; missing ones are downloaded."""
    try:
        return dict(weights.get_state_dict(progress=True, check_hash=True, map_location="cpu", weights_only=True))
    except (*UNREADABLE, HTTPException) as error:
        place = Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(weights.url).name
        raise InputError(
            f"{place} is not there and cannot be downloaded, or is damaged ({' '.join(str(error).split())[:200]}): put "
            f"{weights.url} there, or use features that need no download with model/features=motion"
        ) from error
