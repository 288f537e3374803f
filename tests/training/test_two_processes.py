"""Every experiment trains on two devices as well as on one."""

import os
import socket
import subprocess
import sys

import pytest
import torch

from tests.conftest import REPOSITORY
from tests.media.clips import click, make_video
from tests.training.segments_of_both import train_on
from tests.training.two_processes import OVERRIDES


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folder of the runs of all experiments, each by two processes."""
    folder = tmp_path_factory.mktemp("two")
    root = folder / "videos"
    root.mkdir()
    for name in "abcd":
        make_video(root / f"{name}.mp4", times_s=[k / 25 for k in range(50)], sound=click(2.0, 0.2) + click(2.0, 1.1))
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "NODE_RANK": "0"}
    command = [sys.executable, "-m", "tests.training.two_processes", str(root), str(folder / "runs")]
    processes = [
        subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=os.environ | shared | {"LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=600)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    return folder / "runs"


def test_every_experiment_is_here():
    assert set(OVERRIDES) == {path.stem for path in (REPOSITORY / "exp").glob("*.yaml")}


@pytest.mark.slow
@pytest.mark.parametrize("experiment", OVERRIDES)
def test_both_processes_learn_the_same(runs, experiment):
    before, after, others = (
        torch.load(runs / experiment / f"{name}.pt") for name in ("before-0", "after-0", "after-1")
    )
    assert before.keys() == after.keys() == others.keys()
    assert any(not torch.equal(before[name], after[name]) for name in after)
    assert all(torch.equal(after[name], others[name]) for name in after)
    assert torch.load(runs / experiment / "checkpoints" / "last.ckpt")["global_step"] == 2


def test_two_devices_tell_the_segments_of_both_apart(runs, tmp_path):
    """With half of a batch each, they do what one does with the whole batch."""
    with torch.random.fork_rng():
        train_on(1, tmp_path / "one.pt")
    one, two = torch.load(tmp_path / "one.pt"), torch.load(runs / "both.pt")
    torch.testing.assert_close(two["weights"], one["weights"])
    names = [name for name in one["metrics"] if name.startswith("valid")]
    assert len(names) == 12
    assert {name: float(two["metrics"][name]) for name in names} == pytest.approx(
        {name: float(one["metrics"][name]) for name in names}, rel=1e-4
    )
    torch.testing.assert_close(two["metrics"]["train_loss"], one["metrics"]["train_loss"])
