"""One of two processes that train every experiment together; `test_two_processes.py` starts both.

As on two devices of a real training, but small and on the CPU; one pair of processes for all of them saves their start.
"""

import sys
from pathlib import Path

import pytorch_lightning as pl
import torch

import train
from tests.training.segments_of_both import train_on
from training.config import compose

COMMON = [
    "trainer=cpu",
    "trainer.devices=2",
    "trainer.max_steps=2",
    "trainer.max_epochs=1",
    "trainer.precision=32-true",
    "trainer.accumulate_grad_batches=1",
    "+trainer.enable_progress_bar=false",
    "+trainer.enable_model_summary=false",
    "logger=tensorboard",
    "paths.random_weights=true",
    "dataset.num_workers=0",
    "+callbacks.weights._target_=tests.training.two_processes.WriteWeights",
]
SYNTHETIC = ["dataset.n_val_clips=2", "dataset.samples_per_epoch=4", "dataset.batch_size=1"]
RECORDED = ["dataset.train_split=null", "dataset.val_split=null", "dataset.samples_per_epoch=4", "dataset.batch_size=1"]
OVERRIDES = {
    "distill_mini": [*SYNTHETIC, "dataset.spec.duration_s=1.0", "dataset.n_train_clips=4"],
    "mini_backbone": [*SYNTHETIC, "dataset.spec.duration_s=1.0", "dataset.n_train_clips=4"],
    "mini_controlnet": [
        *SYNTHETIC,
        "dataset.spec.duration_s=1.0",
        "dataset.n_train_clips=4",
        "backbone.weights=null",
        "backbone.random_weights=true",
    ],
    "mini_cavp": [*SYNTHETIC, "dataset.batch_size=2", "dataset.samples_per_epoch=8", "dataset.n_val_clips=4"],
    "mini_video2rms": [*SYNTHETIC, "model.width=8", "model.gru_width=4", "dataset.spec.duration_s=1.0"],
    "train_backbone": [*RECORDED, "dataset.spec.duration_s=1.0"],
    "train_gh_cavp": [
        *RECORDED,
        "model=cavp_debug",
        "dataset.batch_size=2",
        "dataset.samples_per_epoch=8",
        "dataset.segments_per_recording=2",
        "dataset.min_shift_s=0.5",
        "dataset.spec.duration_s=1.0",
        "dataset.spec.frame_size_px=32",
    ],
    "train_gh_controlnet": [*RECORDED, "backbone=debug", "dataset.spec.duration_s=1.0"],
    "train_gh_video2rms": [
        *RECORDED,
        "model.width=8",
        "model.lstm_width=4",
        "model.features.size_px=[128,128]",
        "model.features.flow_updates=1",
        "dataset.spec.duration_s=0.4",
    ],
}


class WriteWeights(pl.Callback):
    """Write the weights that a process begins and ends with."""

    def _write(self, trainer: pl.Trainer, pl_module: pl.LightningModule, when: str) -> None:
        trained = {name: p.detach() for name, p in pl_module.named_parameters() if p.requires_grad}
        torch.save(trained, Path(trainer.default_root_dir) / f"{when}-{trainer.global_rank}.pt")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._write(trainer, pl_module, "before")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._write(trainer, pl_module, "after")


if __name__ == "__main__":
    root, runs = sys.argv[1:]
    for experiment, overrides in OVERRIDES.items():
        options = [f"paths.greatest_hits={root}", f"paths.runs={runs}", f"tag={experiment}"]
        train.train(compose(f"exp={experiment}", *COMMON, *overrides, *options))
    train_on(2, Path(runs) / "both.pt")
