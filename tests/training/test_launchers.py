"""Runs as jobs: what the local launcher leaves, that it goes on, and what Slurm would be asked for."""

import csv
import os
import subprocess
import sys

import hydra
import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate

from common.errors import InputError
from tests.conftest import REPOSITORY, tone_clip
from training.checks import one_sentence


def sweep(root, runs, *more):
    """Two jobs of an experiment."""
    command = [
        *(sys.executable, str(REPOSITORY / "train.py"), "-m", "hydra/launcher=submitit_local", "exp=train_backbone"),
        *(f"paths.greatest_hits={root}", f"paths.runs={runs}", "tag=rates", "dataset.spec.duration_s=1.0"),
        *("dataset.train_split=null", "dataset.val_split=null", "dataset.batch_size=2", "dataset.num_workers=0"),
        *("dataset.samples_per_epoch=4", "+trainer.enable_progress_bar=false", *more),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=600)


def rates_of(run):
    """Learning rates that the loggers of all starts of a run have written."""
    rows = [row for path in sorted(run.glob("csv/*/metrics.csv")) for row in csv.DictReader(path.open())]
    return [float(row["lr-AdamW"]) for row in rows if row.get("lr-AdamW")]


@pytest.mark.slow
def test_jobs_have_runs_of_their_own_and_go_on(tmp_path):
    root, runs = tmp_path / "clips", tmp_path / "runs"
    tone_clip(root, "a")
    rates = "training.optimizer.lr=0.001,0.002"
    done = sweep(root, runs, rates, "trainer.max_epochs=1")
    assert done.returncode == 0, done.stderr
    for number, rate in enumerate((0.001, 0.002)):
        run = runs / f"rates-{number}"
        assert torch.load(run / "checkpoints" / "last.ckpt")["global_step"] == 2
        assert "training" in (run / "train.log").read_text()
        assert set(rates_of(run)) == {rate}
    assert len(list((runs / ".submitit").glob("*_log.err"))) == 2
    again = sweep(root, runs, rates, "trainer.max_epochs=1")
    assert again.returncode == 2
    (sentence,) = [line for line in again.stderr.splitlines() if line.startswith("error:")]
    assert "rates-0" in sentence
    assert "Traceback" not in again.stderr
    more = sweep(root, runs, rates, "trainer.max_epochs=2", "ckpt=last")
    assert more.returncode == 0, more.stderr
    for number in range(2):
        assert torch.load(runs / f"rates-{number}" / "checkpoints" / "last.ckpt")["global_step"] == 4


def slurm(*overrides):
    """What the launcher asks Slurm for."""
    place = str(REPOSITORY / "configs")
    with one_sentence(), hydra.initialize_config_dir(place, version_base="1.3"):
        config = hydra.compose(
            "train",
            [f"hydra.searchpath=[file://{REPOSITORY}]", "hydra/launcher=submitit_slurm", *overrides],
            return_hydra_config=True,
        )
        HydraConfig.instance().set_config(config)
        return instantiate(config.hydra.launcher).params


def test_a_job_asks_for_what_the_trainer_uses():
    asked = slurm("trainer=ddp", "trainer.devices=8", "trainer.num_nodes=2", "hydra.launcher.partition=long")
    assert (asked["nodes"], asked["tasks_per_node"], asked["gpus_per_node"]) == (2, 8, 8)
    assert asked["partition"] == "long"
    assert asked["submitit_folder"] == "runs/.submitit"


def test_a_job_has_to_say_how_many_devices():
    with pytest.raises(InputError, match=r"trainer\.devices"):
        slurm("trainer=ddp")
