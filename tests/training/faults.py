"""Faults that tests put into a training, as callbacks that its configuration names."""

import io
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from training.callbacks import Ema


class HaltWhileWriting(pl.Callback):
    """Stops for good in the middle of writing the checkpoint of an epoch.

    Args:
        epoch: which.
        sign: file to make as soon as half of the checkpoint is on the disk.
    """

    def __init__(self, epoch: int, sign: str) -> None:
        self.epoch = epoch
        self.sign = Path(sign)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            self.save, torch.save = torch.save, self.half

    def half(self, checkpoint: Any, file: Any) -> None:
        content = io.BytesIO()
        self.save(checkpoint, content)
        file.write(content.getvalue()[: content.tell() // 2])
        file.flush()
        self.sign.touch()
        time.sleep(600)


class Poison(pl.Callback):
    """Makes a trained weight, or its average, no number in an epoch.

    Args:
        value: what the weight becomes.
        epoch: in which.
        when: ``before`` its first batch, ``after`` the step of its last one, or ``average``: that of the last one.
    """

    def __init__(self, value: str, epoch: int, when: str) -> None:
        self.value = float(value)
        self.epoch = epoch
        self.when = when

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if self.when == "before" and trainer.current_epoch == self.epoch:
            next(p for p in pl_module.parameters() if p.requires_grad).data.fill_(self.value)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if trainer.current_epoch != self.epoch or not trainer.is_last_batch:
            return
        if self.when == "after":
            next(p for p in pl_module.parameters() if p.requires_grad).data.fill_(self.value)
        elif self.when == "average":
            (ema,) = (callback for callback in trainer.callbacks if isinstance(callback, Ema))
            next(iter(ema.weights.values())).fill_(self.value)
