"""Owns what happens around any training: averaged weights, the best checkpoint, and the end when numbers run away."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from common.errors import InputError
from training.checkpoint import Checkpoint, save_checkpoint
from training.module import Training
from training.sharding import like, whole

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
        """Average and count, for resuming; where weights are divided over devices, every one must ask."""
        return {"weights": whole(self.weights), "n_updates": self.n_updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume."""
        self.weights, self.n_updates = state_dict["weights"], state_dict["n_updates"]

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Start from the weights as they are; a state to resume from comes after this."""
        self.weights = {name: p.detach().clone() for name, p in _trained_parameters(pl_module).items()}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Move the average to where the weights are, divided as they are."""
        parameters = _trained_parameters(pl_module)
        self.weights = {name: like(value, parameters[name]) for name, value in self.weights.items()}

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


class StopWhenNotFinite(pl.Callback):
    """Ends a training whose loss or weights are infinite or no number, before either checkpoint is written over.

    With 16-mixed precision single steps with infinite gradients are skipped and do not count. List it before whatever
    writes: at the end of a validation it looks first.

    Args:
        folder: of the checkpoints.

    Raises:
        InputError: from every hook, on all devices at once, naming the checkpoint that is still there.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the loss of a batch (None: every chunk of it was damaged)."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        finite = loss is None or bool(loss.isfinite())
        if not trainer.strategy.reduce_boolean_decision(finite, all=True):
            self._stop("the training loss", trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the loss of a validation, and at the weights that it judges."""
        if trainer.sanity_checking:
            return
        if not math.isfinite(trainer.callback_metrics.get("valid_loss", 0.0)):
            self._stop("valid_loss", trainer)
        self._check(pl_module.state_dict(), trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Look at the weights to write."""
        self._check(checkpoint["state_dict"], trainer)

    def _check(self, weights: Mapping[str, Tensor], trainer: pl.Trainer) -> None:
        wrong = [name for name, value in weights.items() if not _own_part(value).isfinite().all()]
        if not trainer.strategy.reduce_boolean_decision(not wrong, all=True):
            self._stop(f"the weight {wrong[0]}" if wrong else "a weight on another device", trainer)

    def _stop(self, what: str, trainer: pl.Trainer) -> NoReturn:
        last = self.folder / "last.ckpt"
        left = f"{last} is the last checkpoint before it" if last.exists() else "no checkpoint was written before it"
        raise InputError(
            f"{what} is not finite after {trainer.global_step} steps, so the training ends; {left}: start again under "
            "another TAG with a lower training.optimizer.lr or trainer.gradient_clip_val."
        )


def _own_part(value: Tensor) -> Tensor:
    """Return what this device has of a tensor."""
    return value.to_local() if isinstance(value, DTensor) else value


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
        if trainer.sanity_checking or loss is None or not loss < self.best_loss:
            return
        assert isinstance(pl_module, Training)
        self.best_loss = float(loss)
        weights = trainer.strategy.lightning_module_state_dict()  # of all devices
        if not trainer.is_global_zero:
            return
        save_checkpoint(self.path, Checkpoint(weights, pl_module.config))
        log.info("valid_loss %.4f after %d steps: wrote %s", self.best_loss, trainer.global_step, self.path)
