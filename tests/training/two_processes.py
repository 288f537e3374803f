"""One of two processes that train every experiment together, or the only one; `test_two_processes.py` starts them.

As on two devices of a real training, but small and on the CPU; one pair of processes for all of them saves their start.
"""

import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

import train
from cavp import SlowOnly
from tests.training.segments_of_both import train_on
from training.across import share_statistics
from training.config import compose
from training.sharding import whole

COMMON = [
    "trainer.max_steps=2",
    "trainer.check_val_every_n_epoch=1",
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
SGD = "training.optimizer._target_=torch.optim.SGD"
"""In place of Adam, whose steps have the size of the rate however small, and rounded, a gradient is."""
SYNTHETIC = ["dataset.n_val_clips=3", "dataset.samples_per_epoch=4", "dataset.batch_size=1"]
RECORDED = ["dataset.samples_per_epoch=4", "dataset.batch_size=1"]
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
    "mini_cavp": [
        *SYNTHETIC,
        SGD,
        "~training.optimizer.betas",
        "training.optimizer.lr=1e-4",
        "dataset.batch_size=2",
        "dataset.samples_per_epoch=8",
        "dataset.n_val_clips=5",
    ],
    "mini_video2rms": [*SYNTHETIC, SGD, "model.width=8", "model.gru_width=4", "dataset.spec.duration_s=1.0"],
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


def options(experiment: str, strategy: str, root: str, runs: str) -> list[str]:
    """Options of an experiment on one process with the whole batch, or on two with half of it each."""
    own = OVERRIDES[experiment]
    halves = int(next(each for each in reversed(own) if each.startswith("dataset.batch_size=")).partition("=")[2])
    shared = ["trainer=cpu", "trainer.devices=1", f"dataset.batch_size={2 * halves}"]
    if strategy != "one":
        shared = [f"trainer={strategy}", "trainer.devices=2", "trainer.accelerator=cpu"]
    return [
        f"exp={experiment}",
        *shared[:1],
        *COMMON,
        *own,
        *shared[1:],
        f"paths.greatest_hits={root}",
        f"paths.runs={runs}/{strategy}",
        f"tag={experiment}",
    ]


class WriteWeights(pl.Callback):
    """Write the weights that a process begins and ends with, and the losses of every step."""

    def __init__(self) -> None:
        self.losses: list[dict[str, float]] = []

    def _write(self, trainer: pl.Trainer, pl_module: pl.LightningModule, when: str) -> None:
        trained = {name: p.detach() for name, p in pl_module.named_parameters() if p.requires_grad}
        found = {"weights": whole(trained), "losses": self.losses, "n_own": _n_own(pl_module)}
        torch.save(found, Path(trainer.default_root_dir) / f"{when}-{trainer.global_rank}.pt")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._write(trainer, pl_module, "before")

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.losses.append({name: float(value) for name, value in trainer.logged_metrics.items()})

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.losses.append({name: float(value) for name, value in trainer.callback_metrics.items()})
        self._write(trainer, pl_module, "after")


def _n_own(pl_module: pl.LightningModule) -> int:
    """Count the numbers of trained weights that this process holds."""
    trained = [p for p in pl_module.parameters() if p.requires_grad]
    return sum((p.to_local() if isinstance(p, DTensor) else p).numel() for p in trained)


def gradients_of_normalised() -> dict[str, torch.Tensor]:
    """Gradients of a tower with many normalisations, of half of a batch where there are two processes; float64."""
    torch.manual_seed(0)
    rank, n = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    tower = SlowOnly(4).double().train()
    x, weights = torch.rand(4, 3, 4, 32, 32).double(), torch.rand(4, 4, tower.n_features).double()
    if n > 1:
        tower = share_statistics(tower, x.device)
    (tower(x[rank::n]) * weights[rank::n]).mean().backward()
    for parameter in tower.parameters():
        if n > 1:
            dist.all_reduce(parameter.grad)
            parameter.grad /= n
    found = {name: parameter.grad for name, parameter in tower.named_parameters()}
    return found | {name: value for name, value in tower.state_dict().items() if "running" in name}


if __name__ == "__main__":
    root, runs, *strategies = sys.argv[1:]
    for strategy in strategies:
        for experiment in OVERRIDES:
            train.train(compose(*options(experiment, strategy, root, runs)))
    torch.save(gradients_of_normalised(), Path(runs) / f"gradients-{len(strategies)}.pt")
    if "ddp" in strategies:
        train_on(2, Path(runs) / "both.pt")
