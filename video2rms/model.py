"""Owns the network: from features of frames at 30 fps to class logits of the level and logits of onsets at 125 Hz."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.errors import InputError
from media.envelope import FINE_RATE_HZ
from video2rms.bins import LevelBins
from video2rms.features.base import FeatureExtractor

FRAME_RATE_HZ = 30.0
_N_PLACE = 6
_LATEST = 3.0  # grid steps; a frame that stays longer is recognised by its repetition


@dataclass(frozen=True, eq=False)
class Prediction:
    """Output of the network for each slot of 8 ms.

    Args:
        level_logits: Logits of the level's classes (B, N, K).
        onset_logits: Logits of an onset in the slot (B, N).
    """

    level_logits: Tensor
    onset_logits: Tensor


class Video2Rms(nn.Module):
    """Three convolutions and a bidirectional LSTM that map features of frames to levels of sound.

    Frames are on an even grid of 30 per second, but a camera may have taken them earlier or later. `lateness_s` gives
    the difference, so that the network works with any rate, even a variable one. The convolutions run at the rate of
    the frames. Then each slot of 1 / 125 s combines the two frames around it and its position between them, and the
    LSTM runs over slots. No layer depends on the number of frames.

    Args:
        features: Extractor, trained or frozen.
        bins: Classes of levels.
        width: Channels of the convolutions.
        lstm_width: Width of the LSTM in each direction.
        dropout: Share of dropped channels after each convolution, 0 to 1.

    Raises:
        InputError: A number is outside its range.

    Source:
        Video-Foley (arXiv 2408.11915), RMS-Mapper of Stable-V2A (arXiv 2412.15023).
    """

    def __init__(
        self,
        features: FeatureExtractor,
        bins: LevelBins | None = None,
        width: int = 256,
        lstm_width: int = 128,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if not (0 <= dropout <= 1 and min(width, lstm_width) >= 1):
            raise InputError(
                f"model.width {width}, lstm_width {lstm_width}, dropout {dropout} do not work: give at least 1, 1 and "
                "a number from 0 to 1"
            )
        self.features = features
        self.bins = bins or LevelBins()
        layers: list[nn.Module] = []
        for n_in in (features.n_features + 2, width, width):
            conv = nn.Conv1d(n_in, width, 5, padding=2, bias=False)
            layers += [conv, nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout)]
        self.convs = nn.Sequential(*layers)
        self.between = nn.Linear(2 * width + _N_PLACE, width)
        self.lstm = nn.LSTM(width, lstm_width, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(2 * lstm_width, self.bins.n_classes + 1)

    def forward(self, frames: Tensor, lateness_s: Tensor, n_slots: int) -> Prediction:
        """Predict levels from frames.

        Args:
            frames: Frames on a grid of 30 per second (B, T, 3, H, W), uint8, RGB.
            lateness_s: Grid time minus the time at which each frame was shown (B, T), seconds.
            n_slots: Number N of slots of 1 / 125 s, at most as many as T frames cover, rounded up.

        Returns:
            The prediction.
        """
        return self.predict(self.features(frames), lateness_s, n_slots)

    def predict(self, features: Tensor, lateness_s: Tensor, n_slots: int) -> Prediction:
        """Predict levels from features (B, T, D), like `forward`."""
        steps = FRAME_RATE_HZ * lateness_s
        repeated = torch.diff(steps, dim=1, prepend=steps[:, :1]) > 0.9  # a repeated frame
        late = steps.clamp(-_LATEST, _LATEST).to(features.dtype)
        known = torch.stack([late, repeated.to(late.dtype)], dim=-1)
        hidden = self.convs(torch.cat([features, known], dim=-1).transpose(1, 2)).transpose(1, 2)
        slots = self.lstm(self.between(_around_slots(hidden, late, n_slots)).relu())[0]
        logits = self.head(slots).float()
        return Prediction(logits[..., :-1], logits[..., -1])


def _around_slots(hidden: Tensor, late: Tensor, n_slots: int) -> Tensor:
    """Return the frames (B, T, D) before and after the middle of each slot, and its position: (B, N, 2 D + 6)."""
    place = (torch.arange(n_slots, device=hidden.device) + 0.5) * (FRAME_RATE_HZ / FINE_RATE_HZ)
    left = place.floor().long().clamp(max=hidden.shape[1] - 1)
    right = (left + 1).clamp(max=hidden.shape[1] - 1)
    phase = (place - left).to(hidden.dtype).expand(len(hidden), -1)
    waves = [wave(math.pi * k * phase) for k in (1, 2) for wave in (torch.sin, torch.cos)]
    places = torch.stack([phase + late[:, left], phase - 1 + late[:, right], *waves], dim=-1)
    return torch.cat([hidden[:, left], hidden[:, right], places], dim=-1)
