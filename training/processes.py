"""Owns what happens when a training is stopped, or one of its processes ends: all of them end, with one sentence."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch.distributed as dist
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from common.errors import InputError

_READER = re.compile(r"DataLoader worker \(pid.*?\) (is killed by signal: \w+|exited unexpectedly)")
_EVERY_S = 0.2
_PATIENCE_S = 5.0  # in which the end of a process shows after the connection to it broke
_TERMINATED = 128 + signal.SIGTERM
_OWN_SENTENCE = (2, 130, _TERMINATED)
"""Exit status of processes that have said themselves why they ended."""


class WatchingLauncher(_SubprocessScriptLauncher):
    """Starts the other processes of this machine, and ends all of them when one ends early.

    Lightning's own launcher kills this process too, without a word.

    Args:
        last: the checkpoint that resumes the run, if it is there.
    """

    def __init__(self, launcher: _SubprocessScriptLauncher, last: Path) -> None:
        super().__init__(launcher.cluster_environment, launcher.num_processes, launcher.num_nodes)
        self._last = last

    def launch(self, function: Any, *args: Any, trainer: pl.Trainer | None = None, **kwargs: Any) -> Any:
        """Start the other processes, and call a function in this one."""
        del trainer
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not self.cluster_environment.creates_processes_externally:
            self._call_children_scripts()
            threading.Thread(target=self._watch, daemon=True).start()
        return function(*args, **kwargs)

    def lost(self) -> tuple[int, subprocess.Popen[Any]] | None:
        """Return a process that has ended early, and its rank on this machine."""
        for rank, process in enumerate(self.procs, 1):
            if process.poll():
                return rank, process
        return None

    def sentence(self, rank: int, status: int) -> str:
        """Return what is said about a process that has ended early."""
        how = f"was killed ({signal.Signals(-status).name})" if status < 0 else f"ended with status {status}"
        return (
            f"process {rank} of {self.num_processes} on this machine {how}, so the training ends; {_remedy(self._last)}"
        )

    def _watch(self) -> None:
        while (found := self.lost()) is None:
            if all(process.poll() == 0 for process in self.procs):
                return
            time.sleep(_EVERY_S)
        time.sleep(_PATIENCE_S)  # where the connection to it breaks, the main thread ends the training
        rank, process = found
        _end(None if process.returncode in _OWN_SENTENCE else self.sentence(rank, process.returncode), self)


def watch(trainer: pl.Trainer, last: Path) -> None:
    """Let the processes of a training end together.

    Args:
        trainer: before it starts.
        last: the checkpoint that resumes the run, if it is there.
    """
    launcher = trainer.strategy.launcher
    if isinstance(launcher, _SubprocessScriptLauncher):
        trainer.strategy._launcher = WatchingLauncher(launcher, last)
        if os.environ.get("LOCAL_RANK", "0") != "0" and os.environ.get(_STARTED_BY) == str(os.getppid()):
            threading.Thread(target=_end_with_parent, args=(os.getppid(), last), daemon=True).start()
        os.environ[_STARTED_BY] = str(os.getpid())


_STARTED_BY = "STABLE_V2A_STARTED_BY"
"""Variable of the environment by which a process knows that another one of the training started it."""


def _end_with_parent(parent: int, last: Path) -> None:
    while os.getppid() == parent:
        time.sleep(_EVERY_S)
    _end(f"process 0 on this machine is gone, so the training ends; {_remedy(last)}")


def _end(sentence: str | None, launcher: WatchingLauncher | None = None) -> None:
    """End this process at once, even if it waits for others, and those that it started."""
    if launcher is not None:
        launcher.kill(signal.SIGKILL)
    if sentence is not None:
        sys.stderr.write(f"error: {sentence}\n")
        sys.stderr.flush()
    os._exit(2)


def explain(error: BaseException, trainer: pl.Trainer, last: Path) -> BaseException:
    """Return what a training ends with, in place of an error by which it was stopped or another process ended.

    Args:
        error: what came out of the training.
        trainer: its trainer.
        last: the checkpoint that resumes the run, if it is there.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler raises, wherever that is, when a reader ends
    if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):  # Lightning's answer to it
        _say_stopped(trainer, last)
        return error.__context__
    if trainer.received_sigterm:
        _say_stopped(trainer, last)
        return SystemExit(_TERMINATED)
    if isinstance(error, RuntimeError) and (found := _READER.match(str(error))):
        return InputError(
            f"a process that reads data {found[1]}, often for lack of memory: lower "
            f"dataset.num_workers or dataset.batch_size; {_remedy(last)}"
        )
    return _of_another_process(error, trainer, last)


def _of_another_process(error: BaseException, trainer: pl.Trainer, last: Path) -> BaseException:
    launcher = trainer.strategy.launcher
    is_connection = isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))
    if isinstance(error, InputError) or trainer.world_size == 1 or not is_connection:
        return error
    deadline_s = time.monotonic() + _PATIENCE_S
    while isinstance(launcher, WatchingLauncher) and launcher.procs and time.monotonic() < deadline_s - 1:
        if (found := launcher.lost()) is not None:
            rank, process = found
            if process.returncode in _OWN_SENTENCE:
                return SystemExit(process.returncode)
            return InputError(launcher.sentence(rank, process.returncode))
        time.sleep(_EVERY_S)
    return InputError(f"another process of the training is gone, so it ends; {_remedy(last)}")


def _say_stopped(trainer: pl.Trainer, last: Path) -> None:
    if trainer.is_global_zero:
        sys.stderr.write(f"stopped after {trainer.global_step} steps; {_remedy(last)}\n")
        sys.stderr.flush()


def _remedy(last: Path) -> str:
    return f"go on with ckpt={last}." if last.exists() else "no checkpoint was written: start it again."
