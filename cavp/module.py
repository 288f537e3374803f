"""Owns the training of CAVP: the loss of a batch, and what is measured on the validation set."""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from pytorch_lightning.utilities.types import STEP_OUTPUT
from torch import Tensor, nn

from cavp.contrast import contrastive_losses
from cavp.model import Cavp, ContrastiveOutput
from cavp.retrieval import retrieval_metrics
from cavp.spectrogram import LogMel
from data.segments import Segments
from training.module import Training

LARGEST_LOGIT_SCALE = 100.0


class CavpTraining(Training):
    """Trains both towers of a ``Cavp`` to tell segments apart: semantic loss + ``temporal_weight`` x temporal loss.

    With several devices the segments of all of them are told apart, as with one device and a larger batch.

    Validation takes the losses and the retrieval metrics over the whole set at once, which needs memory for the
    similarities of all its segments (3,000 segments: 36 MB); they do not depend on the size of the batches.

    Args:
        model: the model, with its audio tower; all of it is optimised.
        spectrogram: what the audio tower reads, from the wave of the segments.
        optimizer: makes the optimiser from groups of parameters; what has one axis or none does not decay.
        temporal_weight: λ, weight of the temporal loss, at least 0.
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
        **common: Any,
    ) -> None:
        super().__init__(model, optimizer=partial(_grouped, optimizer), **common)
        self.spectrogram = spectrogram
        self.temporal_weight = temporal_weight

    def training_step(self, batch: Segments, batch_idx: int) -> Tensor:
        """Loss of a training batch; its dropout depends on the seed, the epoch and the number of the batch only."""
        with self.seeded(self.generator(self.current_epoch, batch_idx, self.global_rank)):
            output = self.embed(batch)
        video, audio, recordings = self._gathered(output.video, output.audio, batch.recording)
        losses = self._losses(video, audio, output.logit_scale, recordings)
        self.log("train_loss", losses["loss"], prog_bar=True, batch_size=len(video))
        parts = {"train_semantic_loss": losses["semantic_loss"], "train_temporal_loss": losses["temporal_loss"]}
        self.log_dict(parts | {"logit_scale": output.logit_scale}, batch_size=len(video))
        return losses["loss"]

    def on_train_batch_end(self, outputs: STEP_OUTPUT, batch: Segments, batch_idx: int) -> None:
        """Keeps the logit scale between 1 and 100."""
        assert self.model.logit_scale is not None
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, math.log(LARGEST_LOGIT_SCALE))

    def on_validation_epoch_start(self) -> None:
        """Starts a new collection of embeddings."""
        self._validated: list[tuple[Tensor, Tensor, Tensor]] = []

    def validation_step(self, batch: Segments, batch_idx: int) -> None:
        """Embeds a batch."""
        output = self.embed(batch)
        self._validated.append((output.video, output.audio, batch.recording))

    def on_validation_epoch_end(self) -> None:
        """Logs ``valid_loss``, its two parts and the retrieval metrics, over the whole validation set."""
        video, audio, recordings = self._gathered(*map(torch.cat, zip(*self._validated, strict=True)))
        self._validated.clear()
        # what several devices got twice, to have as many each, counts once; the order is that of one device
        first = torch.from_numpy(np.unique(recordings.cpu().numpy(), return_index=True)[1])
        video, audio, recordings = video[first], audio[first], recordings[first]
        assert self.model.logit_scale is not None
        losses = self._losses(video, audio, self.model.logit_scale.exp(), recordings)
        found = losses | retrieval_metrics(video, audio)
        self.log_dict({f"valid_{name}": value for name, value in found.items()})

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

    def _gathered(self, video: Tensor, audio: Tensor, recordings: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same of all devices, with the gradient that this one's share has in the whole."""
        if self.trainer.world_size == 1:
            return video, audio, recordings
        # as one tensor, whose gradient is contiguous: others are exchanged wrongly
        pairs = torch.stack((video, audio), dim=1)
        gather: Any = self.all_gather
        video, audio = gather(pairs, sync_grads=pairs.requires_grad).flatten(0, 1).unbind(1)
        return video, audio, gather(recordings).flatten()

    def _losses(self, video: Tensor, audio: Tensor, logit_scale: Tensor, recordings: Tensor) -> dict[str, Tensor]:
        """The loss and its two parts, in float32."""
        with torch.autocast(self.device.type, enabled=False):
            parts = contrastive_losses(video, audio, logit_scale, recordings)
        loss = parts.semantic + self.temporal_weight * parts.temporal
        return {"loss": loss, "semantic_loss": parts.semantic, "temporal_loss": parts.temporal}


def _grouped(optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer], parameters: list[nn.Parameter]) -> Any:
    """The optimiser, without weight decay for biases, normalisation and the logit scale."""
    decayed = [parameter for parameter in parameters if parameter.ndim > 1]
    others = [parameter for parameter in parameters if parameter.ndim <= 1]
    return optimizer([{"params": decayed}, {"params": others, "weight_decay": 0.0}])
