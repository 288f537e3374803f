"""Train a model: ``TAG=name python3 train.py exp=train_gh_controlnet.yaml [key=value …]``.

Everything is configured by Hydra from configs/ and exp/; checkpoints, logs and samples go to ``runs/TAG``.
"""

import logging
import sys
from pathlib import Path

import hydra
import pytorch_lightning as pl
from omegaconf import DictConfig

from data.errors import user_errors
from training.config import instantiate
from training.module import build_training
from training.resuming import check_resuming

log = logging.getLogger(__name__)


def train(cfg: DictConfig) -> None:
    """Build what the configuration names and fit."""
    checkpoints = Path(cfg.paths.runs) / cfg.tag / "checkpoints"
    check_resuming(cfg.ckpt, checkpoints / "last.ckpt")
    datamodule = instantiate(cfg.dataset)
    datamodule.setup("fit")
    training = build_training(cfg)
    n_all = sum(p.numel() for p in training.parameters())
    n_trained = sum(p.numel() for p in training.parameters() if p.requires_grad)
    log.info("training %.2f M of %.2f M parameters", n_trained / 1e6, n_all / 1e6)
    trainer: pl.Trainer = instantiate(
        cfg.trainer,
        callbacks=list(instantiate(cfg.callbacks).values()),
        logger=list(instantiate(cfg.logger).values()),
    )
    trainer.fit(training, datamodule=datamodule, ckpt_path=cfg.ckpt, weights_only=True)
    found = (
        ", ".join(path.name for path in sorted(checkpoints.iterdir())) if checkpoints.is_dir() else "no checkpoint yet"
    )
    log.info("results are in %s (%s)", checkpoints.parent, found)


@hydra.main(config_path="configs", config_name="train", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Run ``train`` with the composed configuration."""
    with user_errors():
        train(cfg)


if __name__ == "__main__":
    sys.exit(main())
