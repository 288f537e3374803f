"""Owns the training of Video2RMS: the loss of a batch, and what is measured on the validation set."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from common.errors import InputError
from data.cache import ENVELOPE, FRAMES, tensor_name
from evaluation.onsets import ONSET_RATE_HZ, detect_onsets, onset_f1
from media.envelope import FINE_RATE_HZ, Envelope, low_passed
from training.module import Training
from video2rms.augment import augment
from video2rms.batch import VideoBatch, onset_heights
from video2rms.metrics import level_metrics
from video2rms.model import Prediction, Video2Rms
from video2rms.onsets import ONSET_THRESHOLD, pick_onsets
from video2rms.recordings import LATENESS, RMS_44KHZ
from video2rms.sounding import noise_along

NEAR_BINS = (0, 2, 5, 8)


class Video2RmsTraining(Training):
    """Trains a ``Video2Rms``: cross-entropy with the level's classes, and with the heights of onsets.

    Args:
        model: the model.
        onset_weight: weight of the onset head's loss, above 0.
        onset_positive_weight: weight of slots at an onset against that of the others, above 0.
        onset_width_s: standard deviation of the bell around an onset that the onset head is to predict, above 0.
        smoothing_bins: standard deviation of the Gaussian around the true class, above 0.
        low_pass_hz: cutoff of the target, see ``media.envelope.low_passed``; None: the level as it is, with sharp hits.
            Accuracy is measured against the target, everything else against the level as it is.
        augment: whether training frames are changed at random; features from a cache cannot be.
        **common: optimiser, schedule, seed and configuration, see ``Training``.

    Raises:
        InputError: a number lies outside its range.

    Source: Video-Foley (arXiv 2408.11915) for the level's classes and their smoothing.
    """

    model: Video2Rms

    def __init__(
        self,
        model: Video2Rms,
        onset_weight: float = 8.0,
        onset_positive_weight: float = 3.0,
        onset_width_s: float = 0.012,
        smoothing_bins: float = 1.0,
        low_pass_hz: float | None = None,
        augment: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(model, **common)
        positive = {
            "onset_weight": onset_weight,
            "onset_positive_weight": onset_positive_weight,
            "onset_width_s": onset_width_s,
            "smoothing_bins": smoothing_bins,
        }
        for name, value in positive.items():
            if not value > 0:
                raise InputError(f"training.{name} is {value}; expected a number above 0: correct it.")
        if low_pass_hz is not None and not 0 < low_pass_hz < FINE_RATE_HZ / 2:
            raise InputError(
                f"training.low_pass_hz {low_pass_hz} does not work: give null, or a number between 0 and "
                f"{FINE_RATE_HZ / 2}"
            )
        self.onset_weight = onset_weight
        self.onset_positive_weight = onset_positive_weight
        self.onset_width_s = onset_width_s
        self.smoothing_bins = smoothing_bins
        self.low_pass_hz = low_pass_hz
        self.augment = augment

    def encoder_ids(self) -> dict[str, str]:
        """Return what a cache keeps of a chunk: features, how late frames are, and the level; see ``Training``.

        Raises:
            InputError: the features are trained, or frames are to be changed.
        """
        features = self.model.features.frozen_id()
        if self.augment:
            raise InputError(
                "training.augment changes frames, of which a cache has no features; set training.augment=false, or "
                "leave out dataset.cache."
            )
        levels = {ENVELOPE: "fine envelope of a peak of 1", RMS_44KHZ: "of a peak of 1"}
        return {FRAMES: features, LATENESS: "of frames", **levels}

    def encode(self, batch: VideoBatch, factors: Sequence[float]) -> dict[str, Tensor]:
        """Return what a cache keeps of a batch, see ``Training``; the sound is not multiplied by anything."""
        assert tuple(factors) == (1.0,)
        features = {FRAMES: self.model.features(batch.frames), LATENESS: batch.lateness_s}
        levels = {ENVELOPE: batch.rms, RMS_44KHZ: batch.rms_44khz}
        return {tensor_name(name, 1.0): value for name, value in (features | levels).items()}

    def training_step(self, batch: VideoBatch, batch_idx: int) -> Tensor:
        """Return the loss of a batch; augmentation and dropout depend on the seed, the epoch and its number only."""
        generator = self.generator(self.current_epoch, batch_idx, self.global_rank)
        if self.augment and batch.frames is not None:
            batch = replace(batch, frames=augment(batch.frames, generator))
        with self.seeded(generator):
            prediction = self.predict(batch)
        loss = self.loss(prediction, batch)
        self.log("train_loss", loss, prog_bar=True, batch_size=len(batch))
        return loss

    def validation_step(self, batch: VideoBatch | None, batch_idx: int) -> Prediction | None:  # type: ignore[override]
        """Log ``valid_loss`` and the metrics of a batch, each the mean over clips; return the prediction."""
        if batch is None:  # every chunk of it is damaged
            return None
        prediction = self.predict(batch)
        found = {"loss": self.loss(prediction, batch), **self.metrics(prediction, batch)}
        logged = {f"valid_{name}": value for name, value in found.items()}
        self.log_dict(logged, batch_size=len(batch), sync_dist=True)
        return prediction

    def predict(self, batch: VideoBatch) -> Prediction:
        """Return the prediction for a batch, from its frames or from features of them."""
        n_slots = batch.rms.shape[1]
        if batch.features is not None:
            return self.model.predict(batch.features, batch.lateness_s, n_slots)
        assert batch.frames is not None
        return self.model(batch.frames, batch.lateness_s, n_slots)

    def loss(self, prediction: Prediction, batch: VideoBatch) -> Tensor:
        """Return the loss of a prediction."""
        targets = self.model.bins.soft_targets(self.target(batch), self.smoothing_bins)
        of_levels = F.cross_entropy(prediction.level_logits.flatten(0, 1), targets.flatten(0, 1))
        heights = onset_heights(batch.onsets_s, batch.rms.shape[1], self.onset_width_s).to(of_levels.device)
        of_onsets = F.binary_cross_entropy_with_logits(
            prediction.onset_logits, heights, pos_weight=heights.new_tensor(self.onset_positive_weight)
        )
        return of_levels + self.onset_weight * of_onsets

    def target(self, batch: VideoBatch) -> Tensor:
        """Return levels (B, N) that the network is to predict."""
        if self.low_pass_hz is None:
            return batch.rms
        return low_passed(Envelope(batch.rms, FINE_RATE_HZ), self.low_pass_hz).rms

    def metrics(self, prediction: Prediction, batch: VideoBatch) -> dict[str, Tensor]:
        """Accuracy of classes, both E-L1s and correlation of levels, F1 of onsets within 0.1 s."""
        bins = self.model.bins
        rms = bins.expected_rms(prediction.level_logits)
        distance = (prediction.level_logits.argmax(dim=-1) - bins.encode(self.target(batch))).abs()
        found = {f"accuracy_{n}_bins": (distance <= n).float().mean() for n in NEAR_BINS}
        of_clips = level_metrics(rms, batch.rms, batch.rms_44khz)
        found |= {name: values.mean() for name, values in of_clips.items()}
        found |= self._onset_f1(rms, prediction.onset_logits.sigmoid(), batch.onsets_s)
        return found

    def _onset_f1(self, rms: Tensor, heights: Tensor, onsets_s: Sequence[Tensor]) -> dict[str, Tensor]:
        """F1 of the onset head's peaks, and of what the usual detector finds in noise along the decoded envelopes."""
        by_head, by_envelope = [], []
        for level, height, times_s in zip(rms.cpu(), heights.cpu(), onsets_s, strict=True):
            true_s = np.sort(times_s.cpu().numpy())
            sound = noise_along(Envelope(level, FINE_RATE_HZ), ONSET_RATE_HZ)
            by_head.append(onset_f1(true_s, pick_onsets(height, ONSET_THRESHOLD).numpy()))
            by_envelope.append(onset_f1(true_s, detect_onsets(sound, ONSET_RATE_HZ).times_s))
        return {
            name: rms.new_tensor(np.mean([score.f1 if score else 1.0 for score in scores]))
            for name, scores in (("onset_f1", by_head), ("envelope_onset_f1", by_envelope))
        }
