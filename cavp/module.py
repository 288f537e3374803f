"""Owns the training of CAVP: the loss of a batch and the metrics of the validation set."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from pytorch_lightning.utilities.types import STEP_OUTPUT
from torch import Tensor, nn
from torch.nn import functional as F

from cavp.contrast import contrastive_losses, label_loss
from cavp.label_tower import KINDS, WORDS, words_of
from cavp.model import Cavp, ContrastiveOutput
from cavp.retrieval import heard_materials, retrieval_metrics
from cavp.spectrogram import LogMel
from common.errors import InputError
from data.segments import Segments
from training.across import n_devices
from training.module import Training
from training.noise import ClipNoise
from training.sharding import whole_weights

LARGEST_LOGIT_SCALE = 100.0


class Embedded(NamedTuple):
    """Embeddings of K segments of each of R recordings.

    Attributes:
        video: of the frames (R, K, D).
        audio: of the sounds (R, K, D).
        recordings: numbers of the recordings (R,).
        words: which words describe each recording (R, W), bool, none without a label tower.
    """

    video: Tensor
    audio: Tensor
    recordings: Tensor
    words: Tensor


class CavpTraining(Training):
    """Trains a ``Cavp`` to distinguish segments: semantic loss + ``temporal_weight`` x temporal loss (+ label loss).

    With several devices a segment is contrasted with those of all devices, as with one device and a larger batch.

    Validation computes the losses and the retrieval metrics over the whole set at once. This needs memory for the
    similarities of all segments (3,000 segments: 36 MB); the results do not depend on the batch size.

    Args:
        model: the model, with its audio tower; all of it is optimised.
        spectrogram: computes the audio tower's input from the wave of the segments.
        optimizer: makes the optimiser from groups of parameters; parameters with at most one axis get no weight decay.
        temporal_weight: λ, weight of the temporal loss, at least 0.
        label_weight: weight of the label losses, at least 0; a weight above 0 needs a model with a label tower.
        **common: schedule, seed (of dropout) and configuration, see ``Training``.

    Source: Luo et al., "Diff-Foley", 2023, section 3.1; the bound of the logit scale is CLIP's (Radford et al., 2021).
    """

    model: Cavp

    def __init__(
        self,
        model: Cavp,
        spectrogram: LogMel,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        temporal_weight: float = 1.0,
        label_weight: float = 0.0,
        **common: Any,
    ) -> None:
        super().__init__(model, optimizer=partial(_grouped, optimizer), **common)
        self.spectrogram = spectrogram
        self.temporal_weight = temporal_weight
        self.label_weight = label_weight
        if bool(label_weight) != (model.label_encoder is not None):
            raise InputError(
                f"training.label_weight is {label_weight}, but the model has {'no' if label_weight else 'a'} label "
                "tower: give a weight above 0 with a label tower (model=cavp_mini), and 0 without one"
            )

    def training_step(self, batch: Segments, batch_idx: int) -> Tensor:
        """Compute the loss of a training batch; a clip's dropout depends on seed, epoch, batch and its place only."""
        key = (self.current_epoch, batch_idx)
        with self.noise(len(batch.wave), *key).in_dropout(self.device):
            output = self.embed(batch)
        everywhere = self._gathered(output.video, output.audio, batch)
        losses = self._losses(everywhere, output.logit_scale)
        loss = losses["loss"]
        parts = {"train_semantic_loss": losses["semantic_loss"], "train_temporal_loss": losses["temporal_loss"]}
        n_recordings = len(everywhere.video)
        if self.label_weight:
            noise = self.noise_at(range(n_recordings), *key)
            parts["train_label_loss"] = self._label_loss(everywhere, output.logit_scale, noise)
            loss = loss + self.label_weight * parts["train_label_loss"]
        self.log("train_loss", loss, prog_bar=True, batch_size=n_recordings)
        self.log_dict(parts | {"logit_scale": output.logit_scale}, batch_size=n_recordings)
        return loss

    def on_train_batch_end(self, outputs: STEP_OUTPUT, batch: Segments, batch_idx: int) -> None:
        """Limit the logit scale to 1 … 100."""
        assert self.model.logit_scale is not None
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, math.log(LARGEST_LOGIT_SCALE))

    def on_validation_epoch_start(self) -> None:
        """Start a new collection of embeddings."""
        self._validated: list[Embedded] = []

    def validation_step(self, batch: Segments, batch_idx: int) -> None:
        """Embed a batch and store the result."""
        output = self.embed(batch)
        self._validated.append(self._gathered(output.video, output.audio, batch))

    def on_validation_epoch_end(self) -> None:
        """Log ``valid_loss``, its parts and the retrieval metrics over the whole validation set."""
        with whole_weights(self):
            self._log_validated()

    def _log_validated(self) -> None:
        found = [torch.cat(parts) for parts in zip(*self._validated, strict=True)]
        self._validated.clear()
        assert self.model.logit_scale is not None
        # samplers repeat items so that all devices have equally many: count each once, in the order of one device
        first = torch.from_numpy(np.unique(found[2].cpu().numpy(), return_index=True)[1])
        every = Embedded(*(part[first] for part in found))
        logit_scale = self.model.logit_scale.exp()
        values: dict[str, Any] = self._losses(every, logit_scale)
        if self.label_weight:
            values["label_loss"] = self._label_loss(every, logit_scale, self.noise_at(range(len(first))))
            values["loss"] = values["loss"] + self.label_weight * values["label_loss"]
            self._log_accuracy(every)
        values |= retrieval_metrics(every.video, every.audio)
        self.log_dict(
            {f"valid_{name}": value for name, value in values.items()}, sync_dist=True
        )  # equal on all devices

    def embed(self, batch: Segments) -> ContrastiveOutput:
        """Embed the segments of a batch.

        Args:
            batch: K segments of each of R recordings.

        Returns:
            The embeddings, (R, K, D) each in float32, and the logit scale.
        """
        frames, wave = batch.frames.flatten(0, 1), batch.wave.flatten(0, 1)
        output = self.model(frames.float() / 255, self.spectrogram(wave))
        shape = (*batch.wave.shape[:2], -1)
        return ContrastiveOutput(
            output.video.float().view(shape), output.audio.float().view(shape), output.logit_scale.float()
        )

    def _label_loss(self, clips: Embedded, logit_scale: Tensor, noise: ClipNoise) -> Tensor:
        """Return the sum of the losses over groups of words, each the mean over frames and sounds.

        The groups are the words of each kind, and the labels of the recordings with some words dropped at random. A
        label, after dropping, fits every recording whose label contains all of its words.
        """
        n_segments = clips.video.shape[1]
        words = [row.nonzero().flatten().tolist() for row in clips.words]
        asked = [[[WORDS.index(word)] for word in kind] for kind in KINDS]
        asked.append([_some(row, each) for row, each in zip(words, noise.generators, strict=True) if row])
        assert self.model.label_encoder is not None
        embedded = F.normalize(self.model.label_encoder([rows for group in asked for rows in group]).float(), dim=-1)
        losses = []
        for group, vectors in zip(asked, embedded.split([len(group) for group in asked]), strict=True):
            fits = [[set(rows) <= set(row) for rows in group] for row in words]
            fits_segments = torch.tensor(fits, dtype=torch.bool, device=embedded.device).repeat_interleave(
                n_segments, dim=0
            )
            with torch.autocast(self.device.type, enabled=False):
                losses += [
                    label_loss(embeddings.flatten(0, 1), vectors, logit_scale, fits_segments)
                    for embeddings in (clips.video, clips.audio)
                ]
        return torch.stack(losses).sum() / 2

    def _log_accuracy(self, clips: Embedded) -> None:
        """Log the share of annotated recordings whose nearest material is the annotated one."""
        words = [row.nonzero().flatten().tolist() for row in clips.words]
        for name, embeddings in (("video", clips.video), ("audio", clips.audio)):
            heard = heard_materials(self.model, F.normalize(embeddings.mean(dim=1), dim=-1))
            right = [material in [WORDS[i] for i in row] for material, row in zip(heard, words, strict=True) if row]
            self.log(f"valid_{name}_material_accuracy", float(np.mean(right)), sync_dist=True)

    def _gathered(self, video: Tensor, audio: Tensor, batch: Segments) -> Embedded:
        """Return what all devices have embedded, in the order of one device, with this one's share of the gradient."""
        n_words = len(WORDS) if self.label_weight else 0
        words = torch.zeros(len(video), n_words, dtype=torch.bool, device=video.device)
        for row, label in zip(words, batch.label if n_words else (), strict=bool(n_words)):
            row[words_of(label) if label else []] = True
        if n_devices() == 1:
            return Embedded(video, audio, batch.recording, words)
        # as one tensor, whose gradient is contiguous: non-contiguous gradients are exchanged wrongly
        pairs = torch.stack((video, audio), dim=1)
        gather: Any = self.all_gather
        pairs = gather(pairs, sync_grads=pairs.requires_grad).transpose(0, 1).flatten(0, 1)
        recordings, words = (gather(part).transpose(0, 1).flatten(0, 1) for part in (batch.recording, words))
        return Embedded(pairs[:, 0], pairs[:, 1], recordings, words)

    def _losses(self, clips: Embedded, logit_scale: Tensor) -> dict[str, Tensor]:
        """Return the loss and its two parts, in float32."""
        with torch.autocast(self.device.type, enabled=False):
            parts = contrastive_losses(clips.video, clips.audio, logit_scale, clips.recordings)
        loss = parts.semantic + self.temporal_weight * parts.temporal
        return {"loss": loss, "semantic_loss": parts.semantic, "temporal_loss": parts.temporal}


def _some(words: Sequence[int], generator: torch.Generator) -> list[int]:
    """Return a random non-empty subset of the words; all subsets are equally likely."""
    choice = int(torch.randint(1, 2 ** len(words), (), generator=generator))
    return [word for place, word in enumerate(words) if choice >> place & 1]


def _grouped(optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer], parameters: list[nn.Parameter]) -> Any:
    """Make the optimiser without weight decay for biases, normalisation and the logit scale."""
    decayed = [parameter for parameter in parameters if parameter.ndim > 1]
    others = [parameter for parameter in parameters if parameter.ndim <= 1]
    return optimizer([{"params": decayed}, {"params": others, "weight_decay": 0.0}])
