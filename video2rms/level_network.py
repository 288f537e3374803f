"""The published network: classes of the level in slots of 8 ms, whose mean is the envelope."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.errors import InputError
from hits.level import Hits
from video2rms.bins import LevelBins
from video2rms.features.base import FeatureExtractor
from video2rms.levels import Levels
from video2rms.model import N_PLACE, Video2Rms, around_slots, frame_convs, known_of_frames
from video2rms.onsets import ONSET_THRESHOLD, pick_onsets


@dataclass(frozen=True, eq=False)
class LevelPrediction:
    """Output of the network for each slot of 8 ms.

    Args:
        level_logits: Logits of the level's classes (B, N, K).
        onset_logits: Logits of an onset in the slot (B, N).
    """

    level_logits: Tensor
    onset_logits: Tensor


class LevelNetwork(Video2Rms[LevelPrediction]):
    """Three convolutions and a bidirectional LSTM that map features of frames to levels of sound.

    The convolutions run at the rate of the frames. Then each slot of 1 / 125 s combines the two frames around it and
    its position between them, and the LSTM runs over slots. No layer depends on the number of frames.

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
        super().__init__(features, bins)
        if not (0 <= dropout <= 1 and min(width, lstm_width) >= 1):
            raise InputError(
                f"model.width {width}, lstm_width {lstm_width}, dropout {dropout} do not work: give at least 1, 1 and "
                "a number from 0 to 1"
            )
        self.convs = frame_convs(features.n_features, width, dropout)
        self.between = nn.Linear(2 * width + N_PLACE, width)
        self.lstm = nn.LSTM(width, lstm_width, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(2 * lstm_width, self.bins.n_classes + 1)

    def predict(self, features: Tensor, lateness_s: Tensor, n_slots: int) -> LevelPrediction:
        """Predict levels from features (B, T, D), like `forward`."""
        known, late = known_of_frames(lateness_s, features.dtype)
        hidden = self.convs(torch.cat([features, known], dim=-1).transpose(1, 2)).transpose(1, 2)
        slots = self.lstm(self.between(around_slots(hidden, late, n_slots)).relu())[0]
        logits = self.head(slots).float()
        return LevelPrediction(logits[..., :-1], logits[..., -1])

    def classes(self, prediction: LevelPrediction, rms: Tensor) -> Tensor:
        """Return the most likely classes (B, N)."""
        del rms
        return prediction.level_logits.argmax(dim=-1)

    def read(self, prediction: LevelPrediction, *, first_slot: int = 0, seed: int | None = None) -> list[Levels]:
        """Return the mean level, and hits without a level of their own, since the mean contains them.

        A seed changes nothing, since a mean has no distribution.
        """
        del first_slot, seed
        levels = []
        for rms, logits in zip(self.bins.expected_rms(prediction.level_logits), prediction.onset_logits, strict=True):
            onset = logits.sigmoid().cpu()
            times_s = pick_onsets(onset, ONSET_THRESHOLD)
            levels.append(Levels(rms.cpu(), onset, Hits.silent(times_s)))
        return levels
