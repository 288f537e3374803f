"""Train a model: ``TAG=name python3 train.py exp=train_gh_controlnet.yaml [key=value …]``.

Hydra configures everything from configs/ and exp/; checkpoints, logs and samples go to ``runs/TAG``.
"""

if __name__ == "__main__":  # before the slow imports
    from common.errors import end_on_interrupt

    end_on_interrupt()

import contextlib
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from common.errors import InputError, user_errors
from common.files import remove_partial
from training.checkpoint_io import AtomicCheckpointIO
from training.checks import check_values, checked_run_name, one_sentence
from training.config import REPOSITORY, instantiate
from training.loggers import close_loggers
from training.module import build_training
from training.processes import explain, watch
from training.resuming import check_resuming, check_start, chosen_checkpoint

log = logging.getLogger(__name__)


def train(cfg: DictConfig) -> None:
    """Build the parts that the configuration names, and train.

    Raises:
        InputError: the configuration, a file or the data does not fit, the disk is full, or a loss is not finite.
    """
    check_values(cfg)
    if cfg.paths.runs is None:
        raise InputError("paths.runs is null; expected the folder of all runs: give paths.runs=FOLDER.")
    checkpoints = Path(str(cfg.paths.runs)) / checked_run_name(cfg.tag) / "checkpoints"
    last = checkpoints / "last.ckpt"
    ckpt = chosen_checkpoint(cfg.ckpt, last)
    if cfg.ckpt is not None and ckpt is None:
        log.info("%s is not there, so a new run starts", last)
    start = None if cfg.start is None else Path(str(cfg.start))
    check_start(start, ckpt)
    check_resuming(ckpt, last)
    rank_zero_only(remove_partial)(checkpoints)  # left by a killed run
    datamodule = instantiate(cfg.dataset)
    datamodule.setup("fit")
    training = build_training(cfg)
    if start is not None:
        training.start_from(start)
    n_all = sum(p.numel() for p in training.parameters())
    n_trained = sum(p.numel() for p in training.parameters() if p.requires_grad)
    log.info("training %.2f M of %.2f M parameters", n_trained / 1e6, n_all / 1e6)
    trainer = build_trainer(cfg)
    fit(trainer, training, datamodule, ckpt, last)
    found = (
        ", ".join(path.name for path in sorted(checkpoints.iterdir())) if checkpoints.is_dir() else "no checkpoint yet"
    )
    log.info("results are in %s (%s)", checkpoints.parent, found)


def fit(
    trainer: pl.Trainer,
    training: pl.LightningModule,
    datamodule: pl.LightningDataModule,
    ckpt: str | None,
    last: Path,
) -> None:
    """Train to the end; on a failure, or when one process of the training ends, stop all of them."""
    watch(trainer, last)
    try:
        trainer.fit(training, datamodule=datamodule, ckpt_path=ckpt, weights_only=True)
    except BaseException as error:
        found = explain(error, trainer, last)
        if trainer.strategy.launcher is not None:  # stop the other processes, which would wait for this one
            trainer.strategy.launcher.kill(signal.SIGKILL)
        if found is error:
            raise
        raise found from error
    finally:
        close_loggers(trainer)


def build_trainer(cfg: DictConfig) -> pl.Trainer:
    """Build Lightning's trainer with the callbacks and loggers of the configuration.

    Raises:
        InputError: they cannot be built, or a sweep would run on several devices.
    """
    lowest_allowed = {"accumulate_grad_batches": 1, "check_val_every_n_epoch": 1, "gradient_clip_val": 0}
    for name, lowest in lowest_allowed.items():  # Lightning does not check
        if (value := cfg.trainer.get(name)) is not None and value < lowest:
            raise InputError(f"trainer.{name} is {value}; expected {lowest} or more: give trainer.{name}=NUMBER.")
    callbacks = _built(cfg.callbacks, "callbacks", pl.Callback)
    if cfg.trainer.get("enable_progress_bar", True):
        callbacks.append(TQDMProgressBar())  # the default counts epochs towards an end that does not exist
    trainer: pl.Trainer = instantiate(
        cfg.trainer,
        callbacks=callbacks,
        logger=_built(cfg.logger, "logger", Logger),
        plugins=AtomicCheckpointIO(),
    )
    if in_sweep() and isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher):
        raise InputError(
            f"a sweep on one machine trains on one device, not on {trainer.world_size}; give trainer.devices=1, start "
            "the runs one by one, or as jobs of Slurm with hydra/launcher=submitit_slurm."
        )
    return trainer


def _built(section: DictConfig, key: str, kind: type) -> list[Any]:
    """Build the parts of a section that are not null, and refuse parts of another kind."""
    parts = {name: part for name, part in instantiate(section).items() if part is not None}
    for name, part in parts.items():
        if not isinstance(part, kind):
            raise InputError(f"{key}.{name} is {part!r}; expected a section as in configs/{key}, or null.")
    return list(parts.values())


def in_sweep() -> bool:
    """Return whether this is one of the runs that Hydra starts with ``-m``, one after the other or as jobs."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


@hydra.main(config_path=str(REPOSITORY / "configs"), config_name="train", version_base="1.3")
def run(cfg: DictConfig) -> None:
    """Run ``train`` with the composed configuration; each run of a sweep has its own folder."""
    is_job = "SUBMITIT_EXECUTOR" in os.environ  # whose errors the process that started it reports
    with contextlib.nullcontext() if is_job else user_errors(), one_sentence():
        if in_sweep():
            cfg.tag = Path(HydraConfig.get().runtime.output_dir).name
        train(cfg)


@contextlib.contextmanager
def job_errors() -> Iterator[None]:
    """Turn the end of a job that a launcher started into one sentence.

    Raises:
        InputError: a job ended before its training did.
    """
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith("submitit"):
            raise
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(
            f"a job ended before its training did ({reason}); see its log in .submitit of paths.runs, and give the "
            "same command with ckpt=last to go on."
        ) from error


@user_errors()
def main() -> None:
    """Compose the configuration and train."""
    # Hydra's, of launchers in configs/ that have the names of those of the plugin
    warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against ConfigStore schema")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # otherwise Hydra prints its errors and ends with status 1
    # jobs of a launcher import what this process does, wherever it was started
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    with one_sentence(), job_errors():
        run()


if __name__ == "__main__":
    sys.exit(main())
