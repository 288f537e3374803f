"""Owns the training of Video2RMS: the loss of a batch, and what is measured on the validation set."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.errors import InputError
from data.cache import ENVELOPE, FRAMES, tensor_name
from evaluation.onsets import ONSET_RATE_HZ, detect_onsets, onset_f1
from training.across import shared_mean
from training.module import Training
from video2rms.augment import augment
from video2rms.batch import VideoBatch
from video2rms.levels import Levels
from video2rms.losses import Loss, Mean, own_mean
from video2rms.metrics import level_metrics
from video2rms.model import Video2Rms
from video2rms.recordings import LATENESS, RMS_44KHZ
from video2rms.sounding import noise_along

NEAR_BINS = (0, 2, 5, 8)


class Video2RmsTraining(Training):
    """Trains a ``Video2Rms`` by the loss of its form.

    Args:
        model: the model.
        loss: what is minimised, see ``video2rms.losses``.
        augment: whether training frames are changed at random; features from a cache cannot be.
        **common: optimiser, schedule, seed and configuration, see ``Training``.
    """

    model: Video2Rms[Any]

    def __init__(self, model: Video2Rms[Any], loss: Loss[Any], augment: bool = True, **common: Any) -> None:
        super().__init__(model, **common)
        self.loss_of = loss
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
        features = {FRAMES: self.model.features(batch.frames, batch.lateness_s), LATENESS: batch.lateness_s}
        levels = {ENVELOPE: batch.rms, RMS_44KHZ: batch.rms_44khz}
        return {tensor_name(name, 1.0): value for name, value in (features | levels).items()}

    def training_step(self, batch: VideoBatch, batch_idx: int) -> Tensor:
        """Return the loss of a batch; a clip's augmentation and dropout depend on seed, epoch, batch and place only."""
        noise = self.noise(len(batch), self.current_epoch, batch_idx)
        if self.augment and batch.frames is not None:
            batch = replace(batch, frames=augment(batch.frames, noise.generators))
        with noise.in_dropout(self.device):
            prediction = self.predict(batch)
        loss = self.loss(prediction, batch, shared_mean)
        self.log("train_loss", loss, prog_bar=True, batch_size=len(batch), sync_dist=True)
        return loss

    def validation_step(self, batch: VideoBatch | None, batch_idx: int) -> Any:
        """Find ``valid_loss`` and the metrics, means over clips, whatever the batches; return the prediction."""
        if batch is None:  # every chunk of it is damaged
            return None
        share = self.validation_share(len(batch), batch_idx)
        batch = batch.clips(0, len(share.places))
        prediction = self.predict(batch)
        of_clips = [self.loss(_clip(prediction, i), batch.clips(i, i + 1)) for i in range(len(batch))]
        found = {"loss": torch.stack(of_clips).mean(), **self.metrics(prediction, batch)}
        self.add_validated({f"valid_{name}": value for name, value in found.items()}, share)
        return prediction

    def predict(self, batch: VideoBatch) -> Any:
        """Return the prediction for a batch, from its frames or from features of them."""
        n_slots = batch.rms.shape[1]
        if batch.features is not None:
            return self.model.predict(batch.features, batch.lateness_s, n_slots)
        assert batch.frames is not None
        return self.model(batch.frames, batch.lateness_s, n_slots)

    def loss(self, prediction: Any, batch: VideoBatch, mean: Mean = own_mean) -> Tensor:
        """Return the loss of a prediction; ``mean`` is that over what is compared near hits."""
        loss: Tensor = self.loss_of(prediction, batch.rms, batch.onsets_s, self.model.bins, mean)
        return loss

    def metrics(self, prediction: Any, batch: VideoBatch) -> dict[str, Tensor]:
        """Return accuracies of classes, both E-L1s and correlation of levels, and F1 of onsets within 0.1 s."""
        levels = self.model.read(prediction)
        rms = torch.stack([each.envelope.rms for each in levels]).to(batch.rms.device)
        true = self.model.bins.encode(self.loss_of.target(batch.rms))
        distance = (self.model.classes(prediction, rms) - true).abs()
        found = {f"accuracy_{n}_bins": (distance <= n).float().mean() for n in NEAR_BINS}
        of_clips = level_metrics(rms, batch.rms, batch.rms_44khz)
        found |= {name: values.mean() for name, values in of_clips.items()}
        scores = [_onset_f1(each, times_s) for each, times_s in zip(levels, batch.onsets_s, strict=True)]
        by_hits, by_envelope = zip(*scores, strict=True)
        return found | {
            "onset_f1": rms.new_tensor(np.mean(by_hits)),
            "envelope_onset_f1": rms.new_tensor(np.mean(by_envelope)),
        }


def _clip(prediction: Any, i: int) -> Any:
    """Return the prediction for clip ``i`` as that of a batch of one clip."""
    return replace(prediction, **{each.name: getattr(prediction, each.name)[i : i + 1] for each in fields(prediction)})


def _onset_f1(levels: Levels, onsets_s: Tensor) -> tuple[float, float]:
    """Return F1 of the hits, and of what the usual detector finds in noise along the envelope."""
    true_s = np.sort(onsets_s.cpu().numpy())
    sound = noise_along(levels.envelope, ONSET_RATE_HZ)
    found = levels.hits.times_s.numpy(), detect_onsets(sound, ONSET_RATE_HZ).times_s
    by_hits, by_envelope = (score.f1 if score else 1.0 for score in (onset_f1(true_s, times_s) for times_s in found))
    return by_hits, by_envelope
