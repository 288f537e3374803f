"""Owns what a training of Video2RMS gives to look at."""

from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure
from torch import Tensor

from data.envelope import FINE_RATE_HZ
from data.errors import InputError
from data.files import atomic_path
from training.loggers import log_figure
from video2rms.batch import VideoBatch
from video2rms.module import Video2RmsTraining


class EnvelopeLogger(pl.Callback):
    """Every so often draws the predicted over the true envelope of the first validation clips.

    Writes ``step…/<clip>.png`` and passes it to TensorBoard and wandb.

    Args:
        folder: where to write.
        every_n_epochs: epochs between pictures; only epochs that end in a validation give any.
        n_clips: validation clips, from the first on, at most a batch.
    """

    def __init__(self, folder: str, every_n_epochs: int = 1, n_clips: int = 4) -> None:
        if every_n_epochs < 1 or n_clips < 1:
            raise InputError(
                f"callbacks.envelopes with every_n_epochs {every_n_epochs}, n_clips {n_clips} does not work: give at "
                "least 1 each"
            )
        self.folder = Path(folder)
        self.every_n_epochs = every_n_epochs
        self.n_clips = n_clips

    @torch.no_grad()
    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: VideoBatch | None,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draws the clips of the first batch."""
        due = (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if batch is None or batch_idx or trainer.sanity_checking or not due or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, Video2RmsTraining)
        prediction = pl_module.predict(batch)
        predicted = pl_module.model.bins.expected_rms(prediction.level_logits).cpu()
        heights = prediction.onset_logits.sigmoid().cpu()
        for i, clip_id in enumerate(batch.clip_ids[: self.n_clips]):
            figure = envelopes_figure(batch.rms[i].cpu(), predicted[i], heights[i], batch.onsets_s[i].cpu())
            with atomic_path(self.folder / f"step{trainer.global_step:07d}" / f"{clip_id}.png") as temporary:
                figure.savefig(temporary)
            log_figure(trainer, clip_id, figure)


def envelopes_figure(true_rms: Tensor, predicted_rms: Tensor, heights: Tensor, onsets_s: Tensor) -> Figure:
    """True and predicted envelope, and below them the probability of onsets with ticks at the true ones.

    Args:
        true_rms: Level in slots of 8 ms (N,).
        predicted_rms: The same as predicted (N,).
        heights: Probability of an onset in each slot (N,).
        onsets_s: Times of the true onsets (K,).

    Returns:
        A figure to save; nothing is shown.
    """
    figure = Figure(figsize=(12, 4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    times_s = (np.arange(len(true_rms)) + 0.5) / FINE_RATE_HZ
    above.fill_between(times_s, true_rms.numpy(), color="0.8", label="true")
    above.plot(times_s, predicted_rms.numpy(), linewidth=1, label="predicted")
    above.set(ylabel="RMS", ylim=(0, None))
    above.legend(loc="upper right")
    below.plot(times_s, heights.numpy(), linewidth=1)
    below.plot(onsets_s.numpy(), np.zeros(len(onsets_s)), "|", color="black", markersize=12)
    below.set(xlabel="s", ylabel="onset", xlim=(0, len(true_rms) / FINE_RATE_HZ), ylim=(-0.05, 1.05))
    return figure
