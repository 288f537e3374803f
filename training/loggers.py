"""Owns what loggers are given: the choice between wandb online and offline, and pictures for all of them."""

from typing import Any

import pytorch_lightning as pl
import wandb
from matplotlib.figure import Figure
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger


def wandb_logger(**settings: Any) -> WandbLogger:
    """A wandb logger that writes to its folder alone where no account is set up (``wandb sync`` sends it later)."""
    return WandbLogger(offline=not wandb.login(prompt=False), **settings)


def log_figure(trainer: pl.Trainer, name: str, figure: Figure) -> None:
    """Passes a figure to the TensorBoard and wandb loggers of a training.

    Args:
        trainer: whose loggers.
        name: of the picture; one of the same name and another step stands beside it.
        figure: the picture.
    """
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure(name, figure, trainer.global_step)
        elif isinstance(logger, WandbLogger):
            logger.experiment.log({f"picture/{name}": wandb.Image(figure)})
