"""What a training leaves when it goes wrong: the last good checkpoint, and one sentence."""

import subprocess
import sys
import time

import pytest
import torch

import train
from common.errors import InputError
from tests.conftest import REPOSITORY, no_file_larger_than
from training.config import compose


def options(data_root, runs, *more):
    return [
        "exp=train_gh_controlnet",
        "backbone=debug",
        "trainer=cpu",
        "logger=tensorboard",
        f"paths.greatest_hits={data_root}",
        f"paths.runs={runs}",
        "tag=run",
        "dataset.train_split=null",
        "dataset.val_split=null",
        "dataset.batch_size=1",
        "dataset.samples_per_epoch=2",
        "dataset.num_workers=0",
        "~conditioners.audio",  # CLAP has one size, and takes longer than all the rest
        "+trainer.enable_progress_bar=false",
        *more,
    ]


def is_finite(path):
    return all(value.isfinite().all() for value in torch.load(path)["state_dict"].values())


@pytest.mark.parametrize(("value", "when"), [("inf", "before"), ("-inf", "after"), ("nan", "average")])
def test_a_training_ends_before_it_writes_what_is_not_finite(data_root, tmp_path, value, when):
    """In the second of three epochs; the checkpoint of the first stays."""
    fault = f"+callbacks.fault={{_target_:tests.training.faults.Poison,value:'{value}',epoch:1,when:{when}}}"
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    with pytest.raises(InputError, match=str(last)):
        train.train(compose(*options(data_root, tmp_path, "trainer.max_epochs=3", fault)))
    assert torch.load(last)["global_step"] == 2
    assert is_finite(last)
    assert {path.name for path in last.parent.iterdir()} == {"best.safetensors", "last.ckpt"}


def test_a_training_that_fails_at_once_says_that_nothing_was_written(data_root, tmp_path):
    overrides = ["training.optimizer.lr=1e30", "trainer.max_epochs=2"]
    with pytest.raises(InputError, match="not finite"):
        train.train(compose(*options(data_root, tmp_path, *overrides)))
    assert not list(tmp_path.rglob("*.ckpt")) + list(tmp_path.rglob("*.safetensors"))


@pytest.fixture(scope="module")
def run(data_root, tmp_path_factory):
    """Checkpoints of a run of one epoch."""
    runs = tmp_path_factory.mktemp("runs")
    train.train(compose(*options(data_root, runs, "trainer.max_epochs=1")))
    return runs / "run" / "checkpoints"


def resumed(data_root, checkpoints, *more):
    return options(data_root, checkpoints.parent.parent, f"ckpt={checkpoints / 'last.ckpt'}", *more)


def test_a_disk_that_is_full_leaves_the_checkpoint_before(data_root, run):
    """No file may grow larger than half of the checkpoint, which is what a disk without room does to it."""
    last = run / "last.ckpt"
    before = last.read_bytes()
    with no_file_larger_than(len(before) // 2), pytest.raises(InputError, match=str(last)):
        train.train(compose(*resumed(data_root, run, "trainer.max_epochs=2")))
    assert last.read_bytes() == before
    assert {path.name for path in run.iterdir()} == {"best.safetensors", "last.ckpt"}


@pytest.mark.slow
def test_a_run_that_is_killed_while_it_writes_can_be_resumed(data_root, run, tmp_path):
    """Twice in a row; each time the checkpoint of the epoch before is there, and half of a file is left."""
    last = run / "last.ckpt"
    for epoch in (2, 3):
        sign = tmp_path / f"half-{epoch}"
        fault = f"+callbacks.fault={{_target_:tests.training.faults.HaltWhileWriting,epoch:{epoch},sign:'{sign}'}}"
        with (tmp_path / "said").open("w") as log:
            command = [sys.executable, "train.py", *resumed(data_root, run, "trainer.max_epochs=9", fault)]
            process = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log)
            while process.poll() is None and not sign.exists():
                time.sleep(0.05)
            assert process.poll() is None, (tmp_path / "said").read_text()
            process.kill()
            process.wait()
        assert torch.load(last)["global_step"] == 2 * epoch
        assert is_finite(last)
        (partial,) = run.glob(".*.ckpt")  # what the kill before left is gone
        assert 0 < partial.stat().st_size < last.stat().st_size
