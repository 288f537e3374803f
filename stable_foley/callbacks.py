"""Callbacks of a training of the Foley model: samples of sound, figures and their metrics."""

import logging
from pathlib import Path

import pytorch_lightning as pl
import torch
import wandb
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from torch import Tensor

from common.errors import check_range
from common.files import atomic_path
from data.batch import FoleyBatch
from evaluation.metrics import EnvelopeL1, OnsetF1
from media.writing import write_sound
from stable_foley.module import FoleyTraining
from stable_foley.plot import comparison_figure
from stable_foley.resynthesis import resynthesise
from stable_foley.sampler import SamplerSettings
from training.loggers import log_figure
from training.sharding import whole_weights

log = logging.getLogger(__name__)
MAX_COUNT = 1_000_000


def _check_counts(name: str, every_n_epochs: int, n_clips: int) -> None:
    """Refuse counts of epochs and clips below 1."""
    check_range(f"callbacks.{name}.every_n_epochs", every_n_epochs, 1, MAX_COUNT, whole=True)
    check_range(f"callbacks.{name}.n_clips", n_clips, 1, MAX_COUNT, whole=True)


class SampleLogger(pl.Callback):
    """Generates sound for the first validation clips every few epochs, controlled by their true envelopes.

    Writes ``step…/<clip>.wav`` and ``.png`` (waveform, spectrogram and envelope of the true and the generated sound)
    and passes both to TensorBoard and wandb. List it before ``Ema``, like ``BestCheckpoint``.

    Args:
        folder: folder of the samples.
        settings: settings of the sampler.
        every_n_epochs: epochs between samples; only epochs that end in a validation give samples.
        n_clips: number of validation clips, from the first on.
        seed: seed of the sampling noise.
    """

    def __init__(
        self, folder: str, settings: SamplerSettings, every_n_epochs: int = 10, n_clips: int = 2, seed: int = 0
    ) -> None:
        _check_counts("samples", every_n_epochs, n_clips)
        self.folder = Path(folder)
        self.settings = settings
        self.every_n_epochs = every_n_epochs
        self.n_clips = n_clips
        self.seed = seed

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Generate the samples, write and log them."""
        due = (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if trainer.sanity_checking or not due:
            return
        assert isinstance(pl_module, FoleyTraining)
        with whole_weights(pl_module):
            if trainer.is_global_zero:
                self._sample(trainer, pl_module)

    def _sample(self, trainer: pl.Trainer, pl_module: FoleyTraining) -> None:
        folder = self.folder / f"step{trainer.global_step:07d}"
        n_done = 0
        for batch in trainer.datamodule.preview(self.n_clips):  # type: ignore[attr-defined]
            generators = [torch.Generator().manual_seed(self.seed + n_done + i) for i in range(len(batch))]
            generated = resynthesise(pl_module.model, batch, self.settings, generators)
            self._write(trainer, pl_module, folder, batch, generated)
            n_done += len(batch)
        log.info("wrote samples to %s", folder)

    def _write(
        self, trainer: pl.Trainer, training: FoleyTraining, folder: Path, batch: FoleyBatch, generated: Tensor
    ) -> None:
        """Write and log the sounds of a batch, each with the real one."""
        sample_rate_hz = training.model.pretransform.sample_rate_hz
        assert batch.wave is not None
        for i, sound in enumerate(generated):
            truth = batch.wave[i]
            write_sound(folder / f"{batch.clip_ids[i]}.wav", sound, sample_rate_hz)
            onsets_s = batch.onsets[i].tolist()
            figure = comparison_figure({"truth": truth, "generated": sound}, sample_rate_hz, onset_times_s=onsets_s)
            with atomic_path(folder / f"{batch.clip_ids[i]}.png") as temporary:
                figure.savefig(temporary)
            _log_sound(trainer, batch.clip_ids[i], sound, sample_rate_hz)
            log_figure(trainer, batch.clip_ids[i], figure)


class SampleEvaluation(pl.Callback):
    """Generates sound for the first validation clips every few epochs and logs ``valid_e_l1`` and ``valid_onset_f1``.

    The clips are controlled by their own envelopes, with the same noise every time, so that results can be compared
    across steps. E-L1 is that of Video-Foley (16 kHz), onset F1 is within 0.1 s. Averaged weights are used if there are
    any.

    Args:
        settings: settings of the sampler.
        every_n_epochs: epochs between measurements, among those that end in a validation; None: never.
        n_clips: number of validation clips, from the first on.
        seed: seed of the sampling noise.
    """

    def __init__(
        self, settings: SamplerSettings, every_n_epochs: int | None = None, n_clips: int = 8, seed: int = 0
    ) -> None:
        _check_counts("evaluation", 1 if every_n_epochs is None else every_n_epochs, n_clips)
        self.settings = settings
        self.every_n_epochs = every_n_epochs
        self.n_clips = n_clips
        self.seed = seed

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Generate sounds, measure them and log the means."""
        due = self.every_n_epochs is not None and (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if trainer.sanity_checking or not due:
            return
        assert isinstance(pl_module, FoleyTraining)
        with whole_weights(pl_module):
            if trainer.is_global_zero:
                self._measure(trainer, pl_module)

    def _measure(self, trainer: pl.Trainer, pl_module: FoleyTraining) -> None:
        e_l1, onset_f1, n_done = EnvelopeL1(), OnsetF1(), 0
        sample_rate_hz = pl_module.model.pretransform.sample_rate_hz
        for batch in trainer.datamodule.preview(self.n_clips):  # type: ignore[attr-defined]
            generators = [torch.Generator().manual_seed(self.seed + n_done + i) for i in range(len(batch))]
            sounds = resynthesise(pl_module.model, batch, self.settings, generators)
            e_l1.update(sounds, batch.wave, sample_rate_hz)
            onset_f1.update(sounds, batch.wave, sample_rate_hz)
            n_done += len(batch)
        if n_done:
            pl_module.log("valid_e_l1", e_l1.compute(), rank_zero_only=True)
            pl_module.log("valid_onset_f1", onset_f1.compute(), rank_zero_only=True)


def _log_sound(trainer: pl.Trainer, name: str, sound: Tensor, sample_rate_hz: int) -> None:
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_audio(name, sound.mean(0, keepdim=True), trainer.global_step, sample_rate_hz)
        elif isinstance(logger, WandbLogger):
            logger.experiment.log({f"sound/{name}": wandb.Audio(sound.mT.numpy(), sample_rate=sample_rate_hz)})
