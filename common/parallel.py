"""Work on many clips in several processes, with a progress bar, constant memory, and no process left behind."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import TypeVar

from tqdm import tqdm

from common.errors import InputError, check_range

FEW_JOBS = 8
Job = TypeVar("Job")
Result = TypeVar("Result")


def check_workers(n_workers: int, option: str = "--workers") -> None:
    """Refuse a number of processes that is too large for this machine: more than 16 and more than four per processor.

    Args:
        n_workers: Number of processes.
        option: Option or key, for the error.

    Raises:
        InputError: The number is negative or too large.
    """
    check_range(option, n_workers, 0, max(16, 4 * (os.cpu_count() or 1)), whole=True)


def for_each(
    function: Callable[[Job], Result], jobs: Sequence[Job], n_workers: int, title: str, *, few_jobs: int = FEW_JOBS
) -> Iterator[Result]:
    """Apply a function to every job in separate processes, each with one torch thread.

    Jobs start in the given order, so put the longest first for an even load. The progress bar counts finished jobs in
    whatever order they finish. However this process ends, its workers end with it at once, even in the middle of a job.

    Args:
        function: Function of a job; it and the jobs must be picklable.
        jobs: Arguments of the function.
        n_workers: Number of processes; 0 runs all jobs in this process.
        title: Title of the progress bar.
        few_jobs: Fewer jobs than this run in this process, since starting others would take longer.

    Yields:
        The results in order of the jobs.

    Raises:
        InputError: A process was killed from outside, for instance because memory ran out.
    """
    with tqdm(total=len(jobs), desc=title, unit="clip", delay=2, smoothing=0) as bar:
        if n_workers == 0 or len(jobs) < few_jobs:
            for job in jobs:
                result = function(job)
                bar.update()
                yield result
            return
        with _executor(min(n_workers, len(jobs))) as executor:
            with _interrupts_ignored():  # processes started here inherit this: only this process handles interrupts
                futures = [executor.submit(function, job) for job in jobs]
            for future in futures:
                future.add_done_callback(lambda done: _count(done, bar))
            futures.reverse()
            try:
                while futures:  # popping frees each result after it is yielded
                    yield futures.pop().result()
            except BrokenProcessPool as error:
                reason = f"one of {n_workers} workers was ended (out of memory?)"
                raise InputError(f"{reason}: give fewer --workers") from error


def _count(future: Future[Result], bar: tqdm) -> None:
    if not future.cancelled() and future.exception() is None:
        bar.update()


@contextmanager
def _executor(n_processes: int) -> Iterator[ProcessPoolExecutor]:
    """Yield an executor whose processes end when the block is left, or when this process is gone."""
    context = multiprocessing.get_context("spawn")
    watched, held = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(n_processes, context, initializer=_prepare, initargs=(watched,))
    try:
        yield executor
    finally:
        held.close()
        executor.shutdown(wait=True, cancel_futures=True)
        watched.close()


def _prepare(watched: Connection) -> None:
    """Limit a worker to one torch thread, and make it end when the other end of the pipe is closed."""
    import torch  # not above: every command line imports this module

    torch.set_num_threads(1)
    end_with(watched)


def end_with(watched: Connection) -> None:
    """Make this process end when the other end of a pipe is closed, as it is when the process that holds it is gone."""

    def wait() -> None:
        watched.poll(None)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
