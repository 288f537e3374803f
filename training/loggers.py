"""Owns what loggers are given: the choice between wandb online and offline, and pictures for all of them."""

import logging
import os
from typing import Any

import pytorch_lightning as pl
import wandb
from matplotlib.figure import Figure
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger

from common.errors import InputError

log = logging.getLogger(__name__)


def wandb_logger(save_dir: str, **settings: Any) -> WandbLogger:
    """Start a wandb run, offline where no account is set up and the user has not chosen a mode.

    Args:
        save_dir: existing or new folder; wandb writes to ``wandb`` in it.
        **settings: of Lightning's logger.

    Raises:
        InputError: wandb cannot start, for instance because it refuses the account.
    """
    try:
        mode = wandb.setup().settings.mode  # of WANDB_MODE, or of `wandb offline`
        is_open = mode == "online" and "WANDB_MODE" not in os.environ
        if is_open and not wandb.login(prompt=False, verify=False):
            mode = "offline"
            log.info(
                "wandb has no account here, so it writes to %s/wandb only; to send it later: "
                "wandb login, then wandb sync %s/wandb/offline-run-*",
                save_dir,
                save_dir,
            )
        logger = WandbLogger(save_dir=save_dir, mode=mode, **settings)
        _ = logger.experiment  # starts it
    except wandb.Error as error:
        wandb.teardown(exit_code=1)  # else its service outlives this process
        reason = " ".join(str(error).split())
        raise InputError(
            f"wandb cannot start ({reason}); run wandb login, set WANDB_MODE=offline, or give logger=tensorboard."
        ) from error
    return logger


def close_loggers(trainer: pl.Trainer) -> None:
    """End the wandb run of a training, so that the next one in this process gets its own."""
    if any(isinstance(logger, WandbLogger) for logger in trainer.loggers):
        wandb.finish(exit_code=0 if trainer.state.finished else 1)


def log_figure(trainer: pl.Trainer, name: str, figure: Figure) -> None:
    """Pass a figure to the TensorBoard and wandb loggers of a training.

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
