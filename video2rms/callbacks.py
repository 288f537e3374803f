"""Owns the figures that a training of Video2RMS logs."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from common.errors import InputError
from common.files import atomic_path
from media.envelope import FINE_RATE_HZ, Envelope
from training.loggers import log_figure
from video2rms.batch import VideoBatch
from video2rms.figure import envelope_figure
from video2rms.module import Video2RmsTraining


class EnvelopeLogger(pl.Callback):
    """Draws the predicted and the true envelope of the first validation clips every few epochs.

    Writes ``step…/<clip>.png`` and passes it to TensorBoard and wandb.

    Args:
        folder: folder of the figures.
        every_n_epochs: epochs between figures; only epochs that end in a validation give figures.
        n_clips: number of validation clips, from the first on, at most a batch.
    """

    def __init__(self, folder: str, every_n_epochs: int = 1, n_clips: int = 4) -> None:
        if every_n_epochs < 1 or n_clips < 1:
            raise InputError(
                f"callbacks.envelopes with every_n_epochs {every_n_epochs}, n_clips {n_clips} does not work: give at "
                "least 1 for each"
            )
        self.folder = Path(folder)
        self.every_n_epochs = every_n_epochs
        self.n_clips = n_clips

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: VideoBatch | None,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the clips of the first batch from the result of the validation step."""
        due = (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if batch is None or batch_idx or trainer.sanity_checking or not due or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, Video2RmsTraining)
        predicted = pl_module.model.read(outputs)[: self.n_clips]
        for levels, clip_id, rms in zip(predicted, batch.clip_ids, batch.rms, strict=False):
            figure = envelope_figure(levels.envelope, levels.hits.times_s, Envelope(rms, FINE_RATE_HZ))
            with atomic_path(self.folder / f"step{trainer.global_step:07d}" / f"{clip_id}.png") as temporary:
                figure.savefig(temporary)
            log_figure(trainer, clip_id, figure)
