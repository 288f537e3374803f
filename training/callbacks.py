"""Owns what happens around any training: averaged weights and the best checkpoint."""

import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from data.errors import InputError
from training.checkpoint import Checkpoint, save_checkpoint
from training.module import Training

log = logging.getLogger(__name__)


class Ema(pl.Callback):
    """Exponential moving average of the trained parameters; validation, samples and checkpoints use the average.

    Early on the decay grows as (1 + n) / (10 + n), n optimiser steps, so that the random start is soon forgotten.

    Args:
        decay: share of the average that one optimiser step keeps, 0 to 1.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise InputError(f"callbacks.ema.decay is {decay}; expected 0 ≤ decay < 1: correct it.")
        self.decay = decay
        self.weights: dict[str, Tensor] = {}
        self.n_updates = 0

    @property
    def state_key(self) -> str:
        """Name of this callback's part of a training checkpoint."""
        return "Ema"

    def state_dict(self) -> dict[str, Any]:
        """Average and count, for resuming."""
        return {"weights": self.weights, "n_updates": self.n_updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume."""
        self.weights, self.n_updates = state_dict["weights"], state_dict["n_updates"]

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Start from the weights as they are; a state to resume from comes after this."""
        self.weights = {name: p.detach().clone() for name, p in _trained_parameters(pl_module).items()}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Move the average to where the weights are."""
        parameters = _trained_parameters(pl_module)
        self.weights = {name: value.to(parameters[name]) for name, value in self.weights.items()}

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the average after every optimiser step (not after every accumulated batch)."""
        if trainer.global_step == self.n_updates:
            return
        self.n_updates = trainer.global_step
        decay = min(self.decay, (1 + self.n_updates) / (10 + self.n_updates))
        parameters = _trained_parameters(pl_module)
        torch._foreach_lerp_([self.weights[n] for n in parameters], list(parameters.values()), 1 - decay)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the average in place of the weights."""
        if self.weights:
            self._swap(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the weights back."""
        if self.weights:
            self._swap(pl_module)

    @torch.no_grad()
    def _swap(self, pl_module: pl.LightningModule) -> None:
        for name, parameter in _trained_parameters(pl_module).items():
            average = self.weights[name]
            current = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(current)


def _trained_parameters(pl_module: pl.LightningModule) -> dict[str, torch.nn.Parameter]:
    assert isinstance(pl_module, Training)
    return {name: p for name, p in pl_module.model.named_parameters() if p.requires_grad}


class BestCheckpoint(pl.Callback):
    """Writes ``best.safetensors`` whenever ``valid_loss`` is lower than ever; averaged weights where ``Ema`` runs.

    List it before ``Ema``: at the end of a validation it must still see the averaged weights.

    Args:
        folder: where to write.
    """

    def __init__(self, folder: str) -> None:
        self.path = Path(folder) / "best.safetensors"
        self.best_loss = float("inf")

    def state_dict(self) -> dict[str, Any]:
        """Lowest loss so far, for resuming."""
        return {"best_loss": self.best_loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume."""
        self.best_loss = state_dict["best_loss"]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write if better."""
        loss = trainer.callback_metrics.get("valid_loss")
        if trainer.sanity_checking or loss is None or not loss < self.best_loss or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, Training)
        self.best_loss = float(loss)
        save_checkpoint(self.path, Checkpoint(pl_module.state_dict(), pl_module.config))
        log.info("valid_loss %.4f after %d steps: wrote %s", self.best_loss, trainer.global_step, self.path)
