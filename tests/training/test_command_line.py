"""The command line of train.py: what it refuses before it makes a folder, sweeps, and wandb without an account."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
import wandb

import train
from common.errors import InputError
from tests.conftest import REPOSITORY, tone_clip
from training.checks import checked_run_name
from training.config import compose
from training.loggers import wandb_logger

SMALL = [
    "exp=train_gh_controlnet.yaml",
    "backbone=debug",
    "trainer=cpu",
    "trainer.max_steps=1",
    "dataset.train_split=null",
    "dataset.val_split=null",
    "dataset.batch_size=1",
    "dataset.samples_per_epoch=1",
    "dataset.num_workers=0",
    "~conditioners.audio",  # CLAP has one size, and takes longer than all the rest
    "+trainer.enable_progress_bar=false",
]


def refused(monkeypatch, capsys, tmp_path, *options, left=frozenset()):
    """What train.py says to options that it ends on with status 2, and leaves no more files than these."""
    runs = tmp_path / "inner" / "runs"
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # train.py sets it
    monkeypatch.setattr(sys, "argv", ["train.py", *SMALL, f"paths.runs={runs}", *options])
    with pytest.raises(SystemExit) as end:
        train.main()
    assert end.value.code == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    assert {path.name for path in tmp_path.rglob("*")} == left
    return error


@pytest.mark.parametrize("tag", ["", ".", "..", "a/b", "../up", "/absolute", "-dash", ".hidden", "a\nb", "x" * 201])
def test_a_tag_that_names_no_folder_is_refused(monkeypatch, capsys, tmp_path, tag):
    monkeypatch.setenv("TAG", tag)
    assert repr(tag) in refused(monkeypatch, capsys, tmp_path)


@pytest.mark.parametrize("option", ["tag=a/b", "tag=..", "tag=null"])
def test_so_is_one_on_the_command_line(monkeypatch, capsys, tmp_path, option):
    refused(monkeypatch, capsys, tmp_path, option)
    refused(monkeypatch, capsys, tmp_path, option, "seed=1,2", "--multirun", left={"inner", "runs", "multirun.yaml"})


@pytest.mark.parametrize("tag", ["gh-controlnet", "Lauf 7", "lr=0.1,seed=2", "_x", "schläge", 7])
def test_other_names_are_kept(tag):
    assert checked_run_name(tag) == str(tag)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("training.optimizer.lrr=1", "training.optimizer.lrr"),
        ("exp=nonsense", "nonsense"),
        ("a=[", "'['"),
        ("paths.runs=${nowhere}", "nowhere"),
    ],
)
def test_a_configuration_that_cannot_be_composed_is_refused(monkeypatch, capsys, tmp_path, option, words):
    assert words in refused(monkeypatch, capsys, tmp_path, option)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("training.optimizer.lr=.nan", "training.optimizer.lr"),
        ("training.optimizer.lr=inf", "training.optimizer.lr"),
        ("training.optimizer.betas=[0.9,nan]", r"training\.optimizer\.betas\.1"),
        ("dataset.spec.duration_s=nan", r"dataset\.spec\.duration_s"),
        ("training.optimizer.lr=-1", "-1"),
        ("training.optimizer.lr=high", r"training\.optimizer\.lr is 'high'"),
        ("seed=-1", "seed is -1"),
        ("dataset.seed=1e30", r"dataset\.seed"),
        ("dataset.batch_size=1.5", r"dataset\.batch_size is 1\.5"),
        ("dataset.frames=maybe", r"dataset\.frames is 'maybe'"),
        ("dataset.spec=3", r"dataset\.spec is 3"),
        ("trainer.accumulate_grad_batches=0", "accumulate_grad_batches is 0"),
        ("callbacks.samples.every_n_epochs=0", "callbacks.samples.every_n_epochs"),
        ("callbacks.evaluation.every_n_epochs=0", "callbacks.evaluation.every_n_epochs"),
        ("callbacks.samples.n_clips=0", "callbacks.samples.n_clips"),
        ("trainer.check_val_every_n_epoch=0", "check_val_every_n_epoch is 0"),
        ("trainer.gradient_clip_val=-1", "gradient_clip_val is -1"),
        ("training.optimizer.betas=[0.9,1.5]", r"1\.5"),
        ("~conditioners.seconds_start", "seconds_start"),
        ("training.token_dropout=1.5", "token_dropout"),
        ("training.control_dropout=-0.5", "control_dropout"),
        ("+training.words_share=2", "words_share"),
        ("training.level_std=-1", "level_std"),
        ("tag=a/b", "a/b"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(data_root, tmp_path, option, words):
    config = compose(*SMALL, f"paths.greatest_hits={data_root}", f"paths.runs={tmp_path}", "tag=x", option)
    with pytest.raises(InputError, match=words):
        train.train(config)


@pytest.mark.slow
def test_without_an_account_wandb_is_offline(data_root, tmp_path):
    """As a process of its own, in an environment without an account."""
    (tmp_path / "home").mkdir()
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_") and key != "NETRC"}
    result = subprocess.run(
        [sys.executable, "train.py", *SMALL, f"paths.greatest_hits={data_root}", f"paths.runs={tmp_path}/runs"],
        cwd=REPOSITORY,
        env=kept | {"HOME": str(tmp_path / "home"), "TAG": "here"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "wandb sync" in result.stdout
    (offline,) = (tmp_path / "runs" / "here" / "wandb").glob("offline-run-*")
    assert list(offline.glob("*.wandb"))


@pytest.mark.parametrize("environment", [{"WANDB_MODE": "online"}, {"WANDB_API_KEY": "short"}])
def test_a_choice_of_the_user_that_cannot_work_is_refused(tmp_path, monkeypatch, environment):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    wandb.teardown()  # what it has read of the environment before
    with pytest.raises(InputError, match="WANDB_MODE=offline"):
        wandb_logger(str(tmp_path))


@pytest.fixture
def sweep(data_root, tmp_path, monkeypatch):
    """Run train.py with two seeds and more options; the runs are in `tmp_path`."""

    def run(*more):
        options = [f"paths.greatest_hits={data_root}", f"paths.runs={tmp_path}", "seed=1,2", "logger=tensorboard"]
        monkeypatch.chdir(REPOSITORY)
        monkeypatch.setenv("TAG", "here")
        monkeypatch.setattr(sys, "argv", ["train.py", *SMALL, *options, *more, "--multirun"])
        train.main()

    return run


def test_each_run_of_a_sweep_has_a_folder(sweep, tmp_path):
    sweep()
    for number in range(2):
        assert (tmp_path / f"here-{number}" / "checkpoints" / "last.ckpt").is_file()
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"here-0", "here-1"}


def test_a_sweep_runs_on_one_device(sweep, capsys):
    with pytest.raises(SystemExit) as end:
        sweep("trainer.devices=2")
    assert end.value.code == 2
    assert "trainer.devices=1" in capsys.readouterr().err.splitlines()[-1]


def started(root, runs, *more):
    """A training without an end, in a process group of its own."""
    options = (option for option in SMALL if not option.startswith(("dataset.num_workers", "trainer.max_steps")))
    command = [
        *(sys.executable, str(REPOSITORY / "train.py"), *options, "dataset.num_workers=1", "tag=endless"),
        *(f"paths.greatest_hits={root}", f"paths.runs={runs}", "dataset.spec.duration_s=1.0", "logger=tensorboard"),
        *("dataset.samples_per_epoch=20", "callbacks.samples.every_n_epochs=1000", *more),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for_checkpoint(process, runs):
    last, deadline_s = runs / "endless" / "checkpoints" / "last.ckpt", time.monotonic() + 300
    while not last.exists() and process.poll() is None and time.monotonic() < deadline_s:
        time.sleep(0.1)
    return last


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signal_number", "to_group", "status"),
    [(signal.SIGINT, True, 130), (signal.SIGTERM, False, 143), (signal.SIGTERM, True, 143)],
)
def test_a_training_that_is_stopped_says_how_to_go_on(tmp_path, signal_number, to_group, status):
    root, runs = tmp_path / "clips", tmp_path / "runs"
    tone_clip(root, "a")
    process = started(root, runs)
    checkpoint = wait_for_checkpoint(process, runs)
    (os.killpg if to_group else os.kill)(process.pid, signal_number)
    said = process.communicate(timeout=100)[1]
    assert process.returncode == status, said
    assert "Traceback" not in said
    (sentence,) = [line for line in said.splitlines() if line.startswith("stopped after")]
    assert sentence.endswith(f"steps; go on with ckpt={checkpoint}.")
    steps = int(sentence.split()[2])
    again = started(root, runs, f"ckpt={checkpoint}", f"trainer.max_steps={steps + 1}")
    assert "Traceback" not in again.communicate(timeout=300)[1]
    assert again.returncode == 0
    assert torch.load(checkpoint)["global_step"] <= steps + 1


@pytest.mark.slow
def test_a_reader_that_is_killed_ends_a_training_in_one_sentence(tmp_path):
    pgrep = shutil.which("pgrep") or pytest.skip("no pgrep: install procps")
    root, runs = tmp_path / "clips", tmp_path / "runs"
    tone_clip(root, "a")
    process = started(root, runs)
    wait_for_checkpoint(process, runs)
    readers = subprocess.run([pgrep, "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    assert readers
    for reader in readers:
        os.kill(int(reader), signal.SIGKILL)
    said = process.communicate(timeout=100)[1]
    assert process.returncode == 2
    assert "Traceback" not in said
    (error,) = [line for line in said.splitlines() if line.startswith("error:")]
    assert "dataset.num_workers" in error
    assert "ckpt=" in error
