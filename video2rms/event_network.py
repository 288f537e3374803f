"""The network of hits: when each hit is, how loud it may be, how long it decays, and what is heard beside hits."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from common.errors import InputError
from hits.level import LONGEST_DECAY_S, LOWEST_RING, SHORTEST_DECAY_S, Hits
from media.envelope import FINE_RATE_HZ
from video2rms.bins import LevelBins
from video2rms.features.base import FeatureExtractor
from video2rms.levels import Levels
from video2rms.model import N_PLACE, Video2Rms, around_slots, frame_convs, known_of_frames
from video2rms.onsets import HIT_THRESHOLD, pick_peaks

LARGEST_OFFSET_SLOTS = 8.0
_N_EVENT = 4  # onset, offset, decay and ring
_USUAL_DECAY_S = 0.05
_USUAL_LOGIT = -3.0


@dataclass(frozen=True, eq=False)
class EventPrediction:
    """Output of the network for each slot of 8 ms.

    Args:
        onset_logits: Logits of a hit near the slot (B, N).
        offset_slots: Time from the middle of the slot to that hit (B, N), slots.
        peak_logits: Logits of the classes of its level (B, N, K).
        log_decay: Natural logarithm of its decay (B, N), of seconds.
        ring_logits: Logits of the share of its ring (B, N).
        level_logits: Logits of the classes of the level beside hits (B, N, K).
    """

    onset_logits: Tensor
    offset_slots: Tensor
    peak_logits: Tensor
    log_decay: Tensor
    ring_logits: Tensor
    level_logits: Tensor


class EventNetwork(Video2Rms[EventPrediction]):
    """Convolutions and a bidirectional GRU that map features of frames to hits and to the level beside them.

    A mean over classes of levels, as in `LevelNetwork`, smears a hit over the network's uncertainty about its time.
    Here the network says where hits are, and the exact level of a strike and its ring is drawn for each. The level of
    a hit is a distribution over classes: its median is the prediction, or a seed draws from it.

    Convolutions and GRU run at the rate of the frames. Then each slot of 1 / 125 s combines the two frames around it
    and its position between them. No layer depends on the number of frames.

    Args:
        features: Extractor, trained or frozen.
        bins: Classes of levels.
        width: Channels of the convolutions.
        gru_width: Width of the GRU in each direction.
        dropout: Share of dropped channels after each convolution, 0 to 1.

    Raises:
        InputError: A number is outside its range.

    Source:
        E2E-Spot (arXiv 2207.10213): bidirectional GRU over features of frames, labels wider than a frame. Offsets,
            levels and decays are this project's own.
    """

    headroom_db = 5.0
    """Median over 30 synthetic clips, not used for anything else, of the peak in dB of full scale that the bundled
    `mini` makes along what the bundled network predicts. The loudest 32 ms in training have a level of 0.32."""

    def __init__(
        self,
        features: FeatureExtractor,
        bins: LevelBins | None = None,
        width: int = 256,
        gru_width: int = 192,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(features, bins)
        if not (0 <= dropout <= 1 and min(width, gru_width) >= 1):
            raise InputError(
                f"model.width {width}, gru_width {gru_width}, dropout {dropout} do not work: give at least 1, 1 and "
                "a number from 0 to 1"
            )
        self.convs = frame_convs(features.n_features, width, dropout)
        self.gru = nn.GRU(width, gru_width, num_layers=2, bidirectional=True, batch_first=True)
        n_hidden = width + 2 * gru_width
        self.between = nn.Sequential(
            nn.Linear(2 * n_hidden + N_PLACE, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.head = nn.Linear(width, _N_EVENT + 2 * self.bins.n_classes)

    def predict(self, features: Tensor, lateness_s: Tensor, n_slots: int) -> EventPrediction:
        """Predict hits and levels from features (B, T, D), like `forward`."""
        known, late = known_of_frames(lateness_s, features.dtype)
        hidden = self.convs(torch.cat([features, known], dim=-1).transpose(1, 2)).transpose(1, 2)
        hidden = torch.cat([hidden, self.gru(hidden)[0]], dim=-1)
        outputs = self.head(self.between(around_slots(hidden, late, n_slots))).float()
        of_hits, peak_logits, level_logits = outputs.split([_N_EVENT, self.bins.n_classes, self.bins.n_classes], -1)
        onset, offset, decay, ring = of_hits.unbind(-1)
        return EventPrediction(
            onset_logits=onset + _USUAL_LOGIT,
            offset_slots=LARGEST_OFFSET_SLOTS * offset.tanh(),
            peak_logits=peak_logits,
            log_decay=decay + math.log(_USUAL_DECAY_S),
            ring_logits=ring,
            level_logits=level_logits,
        )

    def read(self, prediction: EventPrediction, *, first_slot: int = 0, seed: int | None = None) -> list[Levels]:
        """Return hits and the level beside them, see `Video2Rms.read`."""
        onset = prediction.onset_logits.sigmoid().cpu()
        rms = self.bins.expected_rms(prediction.level_logits).cpu()
        return [
            Levels(rms[i], onset[i], self._hits(prediction, i, pick_peaks(onset[i], HIT_THRESHOLD), first_slot, seed))
            for i in range(len(onset))
        ]

    def _hits(self, prediction: EventPrediction, i: int, slots: Tensor, first_slot: int, seed: int | None) -> Hits:
        """Return the hits of a clip at slots (K,)."""
        slots = slots.to(prediction.onset_logits.device)
        times_s = (slots + 0.5 + prediction.offset_slots[i, slots]) / FINE_RATE_HZ
        shares = torch.full((len(slots),), 0.5)
        if seed is not None:  # the same draw for the same slot of the video, whatever window it is read in
            numbers = [int(slot) + first_slot for slot in slots]
            shares = torch.tensor([np.random.default_rng((seed, number)).random() for number in numbers])
        levels = self.bins.quantile(prediction.peak_logits[i, slots], shares.float().to(slots.device))
        decay_s = prediction.log_decay[i, slots].exp().clamp(SHORTEST_DECAY_S, LONGEST_DECAY_S)
        ring = prediction.ring_logits[i, slots].sigmoid().clamp(min=LOWEST_RING)
        hits = Hits(times_s.clamp(min=0).float().cpu(), levels.cpu(), decay_s.cpu(), ring.cpu())
        return hits[hits.times_s.argsort()]
