"""What a training minimises: one loss for each form of the network."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Generic, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from common.errors import InputError
from hits.level import level_beyond, measure_hits
from media.envelope import FINE_RATE_HZ, Envelope, low_passed
from video2rms.bins import LevelBins
from video2rms.event_network import EventPrediction
from video2rms.level_network import LevelPrediction
from video2rms.model import Prediction

NEAR_SLOTS = 3.5
"""Distance from a hit up to which a slot says how loud the hit is and when."""
_UNKNOWN_DECAY_S, _UNKNOWN_RING = 0.04, 1.0  # of a hit that the next one follows at once


Mean = Callable[[Tensor], Tensor]


def own_mean(values: Tensor) -> Tensor:
    """Return the mean of values; 0, with a gradient of 0, if there are none."""
    return values.sum() / max(1, values.numel())


class Loss(ABC, Generic[Prediction]):
    """A loss, and the level that a prediction is compared with."""

    @abstractmethod
    def __call__(
        self, prediction: Prediction, rms: Tensor, onsets_s: Sequence[Tensor], bins: LevelBins, mean: Mean = own_mean
    ) -> Tensor:
        """Return the loss of a batch.

        Args:
            prediction: Prediction of the network.
            rms: Level of the sound in slots of 8 ms (B, N).
            onsets_s: Times of the hits, a tensor (K,) for each clip.
            bins: Classes of levels.
            mean: Mean over what is compared near hits, of which clips have different numbers: of this batch, or over
                all devices (`training.across.shared_mean`).
        """

    def target(self, rms: Tensor) -> Tensor:
        """Return the level (B, N) that the network is to predict."""
        return rms


class LevelLoss(Loss[LevelPrediction]):
    """Cross-entropy with the level's classes, and with the heights of onsets.

    Args:
        onset_weight: Weight of the onset head's loss, above 0.
        onset_positive_weight: Weight of slots at an onset against that of the others, above 0.
        onset_width_s: Standard deviation of the bell around an onset that the onset head is to predict, above 0.
        smoothing_bins: Standard deviation of the Gaussian around the true class, above 0.
        low_pass_hz: Cutoff of the target, see `media.envelope.low_passed`; None: the level as it is, with sharp hits.
            Accuracy is measured against the target, everything else against the level as it is.

    Raises:
        InputError: A number is outside its range.

    Source:
        Video-Foley (arXiv 2408.11915) for the level's classes and their smoothing.
    """

    def __init__(
        self,
        onset_weight: float = 8.0,
        onset_positive_weight: float = 3.0,
        onset_width_s: float = 0.012,
        smoothing_bins: float = 1.0,
        low_pass_hz: float | None = None,
    ) -> None:
        self.onset_weight = _positive("onset_weight", onset_weight)
        self.onset_positive_weight = _positive("onset_positive_weight", onset_positive_weight)
        self.onset_width_s = _positive("onset_width_s", onset_width_s)
        self.smoothing_bins = _positive("smoothing_bins", smoothing_bins)
        if low_pass_hz is not None and not 0 < low_pass_hz < FINE_RATE_HZ / 2:
            raise InputError(
                f"training.loss.low_pass_hz {low_pass_hz} does not work: give null, or a number between 0 and "
                f"{FINE_RATE_HZ / 2}"
            )
        self.low_pass_hz = low_pass_hz

    def __call__(
        self,
        prediction: LevelPrediction,
        rms: Tensor,
        onsets_s: Sequence[Tensor],
        bins: LevelBins,
        mean: Mean = own_mean,
    ) -> Tensor:
        """Return the loss of a batch."""
        del mean  # every slot is compared
        of_levels = cross_entropy(prediction.level_logits, bins.soft_targets(self.target(rms), self.smoothing_bins))
        of_onsets = onset_loss(prediction.onset_logits, onsets_s, self.onset_width_s, self.onset_positive_weight)
        return of_levels + self.onset_weight * of_onsets

    def target(self, rms: Tensor) -> Tensor:
        """Return the level (B, N) that the network is to predict."""
        if self.low_pass_hz is None:
            return rms
        return low_passed(Envelope(rms, FINE_RATE_HZ), self.low_pass_hz).rms


class EventLoss(Loss[EventPrediction]):
    """Cross-entropy with the heights of onsets, and near each hit errors of its time, level and decay.

    Times, decays and rings have an absolute error, so the network predicts their medians. Levels, of hits and of what
    is heard beside them, have a cross-entropy with their classes.

    Args:
        onset_weight: Weight of the onsets' loss, above 0.
        onset_positive_weight: Weight of slots at an onset against that of the others, above 0.
        onset_width_s: Standard deviation of the bell around an onset, above 0: wider than `offset` needs, since at low
            frame rates nobody knows the time better.
        offset_weight: Weight of the error in slots, above 0.
        peak_weight: Weight of the hits' levels, above 0.
        decay_weight: Weight of the error of the decay's logarithm, above 0.
        ring_weight: Weight of the error of the ring's share, above 0.
        level_weight: Weight of the level beside hits, above 0.
        smoothing_bins: Standard deviation of the Gaussian around a true class, above 0.

    Raises:
        InputError: A number is not above 0.

    Source:
        This project's own choice.
    """

    def __init__(
        self,
        onset_weight: float = 8.0,
        onset_positive_weight: float = 3.0,
        onset_width_s: float = 0.02,
        offset_weight: float = 0.2,
        peak_weight: float = 1.0,
        decay_weight: float = 0.3,
        ring_weight: float = 1.0,
        level_weight: float = 0.5,
        smoothing_bins: float = 1.0,
    ) -> None:
        self.onset_weight = _positive("onset_weight", onset_weight)
        self.onset_positive_weight = _positive("onset_positive_weight", onset_positive_weight)
        self.onset_width_s = _positive("onset_width_s", onset_width_s)
        self.offset_weight = _positive("offset_weight", offset_weight)
        self.peak_weight = _positive("peak_weight", peak_weight)
        self.decay_weight = _positive("decay_weight", decay_weight)
        self.ring_weight = _positive("ring_weight", ring_weight)
        self.level_weight = _positive("level_weight", level_weight)
        self.smoothing_bins = _positive("smoothing_bins", smoothing_bins)

    def __call__(
        self,
        prediction: EventPrediction,
        rms: Tensor,
        onsets_s: Sequence[Tensor],
        bins: LevelBins,
        mean: Mean = own_mean,
    ) -> Tensor:
        """Return the loss of a batch."""
        found = [event_targets(level, times_s) for level, times_s in zip(rms.cpu(), onsets_s, strict=True)]
        targets = EventTargets(*(torch.stack(parts).to(rms.device) for parts in zip(*found, strict=True)))
        of_onsets = onset_loss(prediction.onset_logits, onsets_s, self.onset_width_s, self.onset_positive_weight)
        near = targets.offset_slots.abs() < NEAR_SLOTS
        heard = near & (targets.peak > bins.edges[0])
        decays = heard & targets.log_decay.isfinite()
        rings = heard & targets.ring.isfinite()
        of_peaks = cross_entropy(
            prediction.peak_logits[heard], bins.soft_targets(targets.peak[heard], self.smoothing_bins), mean
        )
        of_levels = cross_entropy(prediction.level_logits, bins.soft_targets(targets.beyond, self.smoothing_bins))
        of_offsets = mean((prediction.offset_slots[near] - targets.offset_slots[near]).abs())
        of_decays = mean((prediction.log_decay[decays] - targets.log_decay[decays]).abs())
        of_rings = mean((prediction.ring_logits[rings].sigmoid() - targets.ring[rings]).abs())
        return (
            self.onset_weight * of_onsets
            + self.offset_weight * of_offsets
            + self.peak_weight * of_peaks
            + self.decay_weight * of_decays
            + self.ring_weight * of_rings
            + self.level_weight * of_levels
        )


class EventTargets(NamedTuple):
    """What an `EventNetwork` is to predict in each slot of 8 ms (N,).

    Args:
        offset_slots: Time from the middle of the slot to the nearest hit, in slots; infinite if there is none.
        peak: Level of that hit.
        log_decay: Natural logarithm of its decay in seconds; not a number if it is not known.
        ring: Share of its ring; not a number if it is not known.
        beyond: Level beside hits.
    """

    offset_slots: Tensor
    peak: Tensor
    log_decay: Tensor
    ring: Tensor
    beyond: Tensor


def event_targets(rms: Tensor, onsets_s: Tensor) -> EventTargets:
    """Return the targets of a clip with a level (N,) and hits at some times (K,)."""
    n_slots = len(rms)
    hits = measure_hits(rms, onsets_s)
    if len(hits) == 0:
        nothing = torch.zeros(n_slots)
        return EventTargets(torch.full((n_slots,), torch.inf), nothing, nothing, nothing, rms)
    distance = hits.times_s[:, None] * FINE_RATE_HZ - (torch.arange(n_slots) + 0.5)
    nearest = distance.abs().argmin(dim=0)
    known = replace(hits, decay_s=hits.decay_s.nan_to_num(_UNKNOWN_DECAY_S), ring=hits.ring.nan_to_num(_UNKNOWN_RING))
    return EventTargets(
        offset_slots=distance.gather(0, nearest[None])[0],
        peak=hits.rms[nearest],
        log_decay=hits.decay_s.log()[nearest],
        ring=hits.ring[nearest],
        beyond=level_beyond(rms, known),
    )


def onset_loss(logits: Tensor, onsets_s: Sequence[Tensor], width_s: float, positive_weight: float) -> Tensor:
    """Return the cross-entropy of onset logits (B, N) with the heights of onsets, see `onset_heights`."""
    heights = onset_heights(onsets_s, logits.shape[1], width_s).to(logits.device)
    return F.binary_cross_entropy_with_logits(logits, heights, pos_weight=heights.new_tensor(positive_weight))


def onset_heights(onsets_s: Sequence[Tensor], n_slots: int, width_s: float) -> Tensor:
    """Return the target of the onset head: a bell of height 1 around each onset.

    Args:
        onsets_s: Times of the onsets, a tensor (K,) for each clip.
        n_slots: Number N of slots of 8 ms.
        width_s: Standard deviation of a bell.

    Returns:
        Heights 0 to 1 (B, N); where bells overlap, the larger height.
    """
    middle_s = (torch.arange(n_slots) + 0.5) / FINE_RATE_HZ
    heights = torch.zeros(len(onsets_s), n_slots)
    for row, times_s in zip(heights, onsets_s, strict=True):
        if len(times_s):
            distance = (middle_s - times_s.float().cpu()[:, None]) / width_s
            row.copy_(torch.exp(-0.5 * distance.square()).amax(dim=0))
    return heights


def cross_entropy(logits: Tensor, targets: Tensor, mean: Mean = own_mean) -> Tensor:
    """Return the mean cross-entropy of logits (..., K) with distributions (..., K); 0 if there are none."""
    return mean(F.cross_entropy(logits.flatten(0, -2), targets.flatten(0, -2), reduction="none"))


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise InputError(f"training.loss.{name} is {value}; expected a number above 0: correct it.")
    return value
