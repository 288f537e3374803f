"""Measures of generated sound during training, beside the loss."""

from typing import Any

import pytorch_lightning as pl
import torch

from data.dataset import FoleyBatch
from evaluation.metrics import EnvelopeL1, OnsetF1
from stable_foley.module import FoleyTraining
from stable_foley.resynthesis import resynthesise
from stable_foley.sampler import SamplerSettings


class SampleEvaluation(pl.Callback):
    """Every so often generates sound for the first validation clips and logs ``valid_e_l1`` and ``valid_onset_f1``.

    The clips are driven by their own envelopes, with the same noise every time, so that the figures can be compared
    across steps. E-L1 is that of Video-Foley (16 kHz), onset F1 is within 0.1 s. They see the averaged weights where
    there is an average.

    Args:
        settings: how to sample.
        every_n_epochs: epochs between measurements, of those that end in a validation; None: never.
        n_clips: validation clips, from the first on.
        seed: of the sampling noise.
    """

    def __init__(
        self, settings: SamplerSettings, every_n_epochs: int | None = None, n_clips: int = 8, seed: int = 0
    ) -> None:
        self.settings = settings
        self.every_n_epochs = every_n_epochs
        self.n_clips = n_clips
        self.seed = seed
        self.e_l1 = EnvelopeL1()
        self.onset_f1 = OnsetF1()

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: FoleyBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Generate and measure the batch's clips, while fewer than ``n_clips`` are."""
        n_missing = self.n_clips - int(self.e_l1.n_clips)
        due = self.every_n_epochs is not None and (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if trainer.sanity_checking or not due or n_missing <= 0:
            return
        assert isinstance(pl_module, FoleyTraining)
        first = batch.clips(0, n_missing)
        seeds = range(self.seed + int(self.e_l1.n_clips), self.seed + int(self.e_l1.n_clips) + len(first.wave))
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        sounds = resynthesise(pl_module.model, first, self.settings, generators)
        truth = first.wave.cpu()
        sample_rate_hz = pl_module.model.pretransform.sample_rate_hz
        self.e_l1.update(sounds, truth, sample_rate_hz)
        self.onset_f1.update(sounds, truth, sample_rate_hz)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the means and begin anew."""
        if int(self.e_l1.n_clips):
            pl_module.log("valid_e_l1", self.e_l1.compute(), rank_zero_only=True)
            pl_module.log("valid_onset_f1", self.onset_f1.compute(), rank_zero_only=True)
        self.e_l1.reset()
        self.onset_f1.reset()
