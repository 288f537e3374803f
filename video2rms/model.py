"""What all networks of Video2RMS have in common: from frames at 30 per second to levels and hits in slots of 8 ms."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from media.envelope import FINE_RATE_HZ
from video2rms.bins import LevelBins
from video2rms.features.base import FRAME_RATE_HZ, FeatureExtractor
from video2rms.levels import Levels

Prediction = TypeVar("Prediction")
N_PLACE = 6
_N_KNOWN = 2
_LATEST = 3.0  # grid steps; a frame that stays longer is recognised by its repetition


class Video2Rms(nn.Module, ABC, Generic[Prediction]):
    """A network that maps frames to levels of sound.

    Frames are on an even grid of 30 per second, but a camera may have taken them earlier or later. `lateness_s` gives
    the difference, so that a network works with any rate, even a variable one.

    Args:
        features: Extractor, trained or frozen.
        bins: Classes of levels.

    Attributes:
        headroom_db: How much softer than predicted an envelope should be, so that a sound along it stays within full
            scale.
    """

    headroom_db: ClassVar[float] = 0.0

    def __init__(self, features: FeatureExtractor, bins: LevelBins | None) -> None:
        super().__init__()
        self.features = features
        self.bins = bins or LevelBins()

    def forward(self, frames: Tensor, lateness_s: Tensor, n_slots: int) -> Prediction:
        """Predict levels from frames.

        Args:
            frames: Frames on a grid of 30 per second (B, T, 3, H, W), uint8, RGB.
            lateness_s: Grid time minus the time at which each frame was shown (B, T), seconds.
            n_slots: Number N of slots of 1 / 125 s, at most as many as T frames cover, rounded up.

        Returns:
            The prediction.
        """
        return self.predict(self.features(frames, lateness_s), lateness_s, n_slots)

    @abstractmethod
    def predict(self, features: Tensor, lateness_s: Tensor, n_slots: int) -> Prediction:
        """Predict levels from features (B, T, D), like `forward`."""

    def classes(self, prediction: Prediction, rms: Tensor) -> Tensor:
        """Return the predicted classes (B, N) of levels; `rms` (B, N) is the predicted envelope."""
        del prediction
        return self.bins.encode(rms)

    @abstractmethod
    def read(self, prediction: Prediction, *, first_slot: int = 0, seed: int | None = None) -> list[Levels]:
        """Return levels and hits of each clip of a batch.

        Args:
            prediction: The prediction.
            first_slot: Number of the first slot in the whole video; the hits' times are those of the prediction.
            seed: Draws the level of each hit from its distribution; None: the most likely level.
        """


def frame_convs(n_features: int, width: int, dropout: float) -> nn.Sequential:
    """Return three convolutions over frames, from features and what is known of each frame to `width` channels."""
    layers: list[nn.Module] = []
    for n_in in (n_features + _N_KNOWN, width, width):
        conv = nn.Conv1d(n_in, width, 5, padding=2, bias=False)
        layers += [conv, nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)


def known_of_frames(lateness_s: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return what is known of each frame (B, T, 2), lateness in grid steps and repetition; and the lateness (B, T)."""
    steps = FRAME_RATE_HZ * lateness_s
    repeated = torch.diff(steps, dim=1, prepend=steps[:, :1]) > 0.9
    late = steps.clamp(-_LATEST, _LATEST).to(dtype)
    return torch.stack([late, repeated.to(dtype)], dim=-1), late


def around_slots(hidden: Tensor, late: Tensor, n_slots: int) -> Tensor:
    """Return the frames (B, T, D) before and after the middle of each slot, and its position: (B, N, 2 D + 6)."""
    place = (torch.arange(n_slots, device=hidden.device) + 0.5) * (FRAME_RATE_HZ / FINE_RATE_HZ)
    left = place.floor().long().clamp(max=hidden.shape[1] - 1)
    right = (left + 1).clamp(max=hidden.shape[1] - 1)
    phase = (place - left).to(hidden.dtype).expand(len(hidden), -1)
    waves = [wave(math.pi * k * phase) for k in (1, 2) for wave in (torch.sin, torch.cos)]
    places = torch.stack([phase + late[:, left], phase - 1 + late[:, right], *waves], dim=-1)
    return torch.cat([hidden[:, left], hidden[:, right], places], dim=-1)
