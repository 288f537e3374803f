"""Every experiment trains on two devices as well as on one."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from tests.conftest import REPOSITORY, tone_clip
from tests.media.clips import click, make_video
from tests.training.segments_of_both import train_on
from tests.training.two_processes import OVERRIDES
from training.resuming import check_form


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run_processes(n, arguments):
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(n), "NODE_RANK": "0"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.training.two_processes", *arguments],
            cwd=REPOSITORY,
            env=os.environ | shared | {"LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(n)
    ]
    try:
        said = [process.communicate(timeout=600)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * n, "\n".join(said)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, worker_id):
    """Folder of the runs of all experiments, by one process and by two; workers of pytest-xdist share them."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "two"
    lock, users = FileLock(f"{folder}.lock"), folder / "users"
    with lock:
        if not users.is_file():
            make_runs(folder)
        users.write_text(f"{users.read_text() if users.is_file() else ''}{worker_id}\n")
    yield folder / "runs"
    with lock:
        others = users.read_text().replace(f"{worker_id}\n", "", 1)
        users.write_text(others)
        if not others:
            shutil.rmtree(folder)  # 6 GB


def make_runs(folder):
    root = folder / "videos"
    root.mkdir(parents=True)
    for number, name in enumerate("abcde"):
        sound = click(2.0, 0.2 + number / 20) + click(2.0, 1.1)
        make_video(root / f"{name}.mp4", times_s=[k / 25 for k in range(50)], sound=sound)
    (root / "train.txt").write_text("a\nb\nc\nd\n")
    (root / "val.txt").write_text("c\nd\ne\n")
    run_processes(1, [str(root), str(folder / "runs"), "one"])
    run_processes(2, [str(root), str(folder / "runs"), "ddp", "fsdp"])


def test_every_experiment_is_here():
    assert set(OVERRIDES) == {path.stem for path in (REPOSITORY / "exp").glob("*.yaml")}


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("experiment", OVERRIDES)
def test_two_processes_do_what_one_does_with_the_whole_batch(runs, experiment, strategy):
    def found(strategy, name):
        return torch.load(runs / strategy / experiment / f"{name}.pt", weights_only=True)

    before, alone = found(strategy, "before-0"), found("one", "after-0")
    after, others = found(strategy, "after-0"), found(strategy, "after-1")
    torch.testing.assert_close(before["weights"], found("one", "before-0")["weights"], rtol=0, atol=0)
    assert any(not torch.equal(before["weights"][name], value) for name, value in after["weights"].items())
    assert all(torch.equal(value, others["weights"][name]) for name, value in after["weights"].items())
    assert len(alone["losses"]) == 3
    assert {"train_loss", "valid_loss"} <= alone["losses"][-1].keys()
    for own, theirs in zip(after["losses"], alone["losses"], strict=True):
        assert own == pytest.approx(theirs, rel=1e-4, abs=1e-5)
    n_whole = sum(value.numel() for value in after["weights"].values())
    share = after["n_own"] / n_whole
    assert share == 1 if strategy == "ddp" else 0.45 < share < 0.6


@pytest.mark.slow
@pytest.mark.parametrize("experiment", OVERRIDES)
def test_checkpoints_of_divided_weights_are_whole(runs, experiment):
    """Whatever wrote a last.ckpt, it holds the same, and any number of devices can go on with it."""
    shared, divided = (
        torch.load(runs / strategy / experiment / "checkpoints" / "last.ckpt", weights_only=True)
        for strategy in ("ddp", "fsdp")
    )
    assert divided["global_step"] == shared["global_step"] == 2
    check_form(divided["optimizer_states"], shared["optimizer_states"])
    check_form({"state": divided["callbacks"].get("Ema")}, {"state": shared["callbacks"].get("Ema")})
    assert divided["state_dict"].keys() == shared["state_dict"].keys()
    for name, value in shared["state_dict"].items():
        torch.testing.assert_close(divided["state_dict"][name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_normalisation_sees_both_halves_of_a_batch(runs):
    shared, alone = (torch.load(runs / f"gradients-{n}.pt", weights_only=True) for n in (2, 1))
    torch.testing.assert_close(shared, alone, rtol=1e-6, atol=1e-12)


@pytest.mark.slow
def test_a_killed_process_ends_the_run_which_can_go_on(tmp_path):
    """Both processes are those that train.py starts; the second is killed after the first checkpoint."""
    root = tmp_path / "clips"
    for name in "ab":
        tone_clip(root, name)
    command = [
        *(sys.executable, "train.py", "exp=train_gh_controlnet", "trainer=ddp", "trainer.devices=2"),
        *("trainer.accelerator=cpu", "trainer.precision=32-true", "backbone=debug", "logger=tensorboard"),
        *(f"paths.greatest_hits={root}", f"paths.runs={tmp_path}", "tag=run", "dataset.train_split=null"),
        *("dataset.val_split=null", "dataset.batch_size=1", "dataset.samples_per_epoch=4", "dataset.num_workers=0"),
        "dataset.spec.duration_s=1.0",
        *(
            "trainer.check_val_every_n_epoch=1",
            "dataset.spec.duration_s=1.0",
            "~conditioners.audio",
            "+trainer.enable_progress_bar=false",
        ),
    ]
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        while process.poll() is None and not last.exists():
            time.sleep(0.05)
        assert process.poll() is None, process.communicate()[1]
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        (other,) = [int(child) for child in children if "train.py" in Path(f"/proc/{child}/cmdline").read_text()]
        os.kill(other, signal.SIGKILL)
        said = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 2
    (sentence,) = [line for line in said.splitlines() if line.startswith("error:")]
    assert f"ckpt={last}" in sentence
    assert "Traceback" not in said
    n_done = torch.load(last)["global_step"]
    again = [*command, f"ckpt={last}", f"trainer.max_steps={n_done + 2}"]
    subprocess.run(again, cwd=REPOSITORY, check=True, capture_output=True, timeout=300)
    assert torch.load(last)["global_step"] == n_done + 2


@pytest.mark.slow
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
