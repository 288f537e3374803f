"""Work on many clips in several processes, with a progress bar, constant memory and a clean end, whatever ends it."""

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

import torch
from tqdm import tqdm

from common.errors import InputError, check_range

FEW_JOBS = 8
Job = TypeVar("Job")
Result = TypeVar("Result")


def check_workers(n_workers: int, option: str = "--workers") -> None:
    """Refuse a number of processes that this machine cannot hold: at most 16, or four a processor.

    Args:
        n_workers: The processes.
        option: The option or key, for the error.

    Raises:
        InputError: Naming the value.
    """
    check_range(option, n_workers, 0, max(16, 4 * (os.cpu_count() or 1)), whole=True)


def for_each(
    function: Callable[[Job], Result], jobs: Sequence[Job], n_workers: int, title: str, *, few_jobs: int = FEW_JOBS
) -> Iterator[Result]:
    """Applies a function to every job, in processes of their own with one torch thread each.

    Jobs are started in their order, so that an even load needs the longest first. The progress bar counts what is
    done, whatever the order. However this process ends, the others end with it, at once and in the middle of a job.

    Args:
        function: What to do; it and the jobs must be picklable.
        jobs: What to do it to.
        n_workers: Processes; 0 does all in this one.
        title: Stands before the progress bar.
        few_jobs: Fewer jobs than this are done in this process: starting others takes longer.

    Yields:
        The results in order of the jobs.

    Raises:
        InputError: A process was ended from outside, for instance for want of memory.
    """
    with tqdm(total=len(jobs), desc=title, unit="clip", delay=2, smoothing=0) as bar:
        if n_workers == 0 or len(jobs) < few_jobs:
            for job in jobs:
                result = function(job)
                bar.update()
                yield result
            return
        with _executor(min(n_workers, len(jobs))) as executor:
            with _interrupts_ignored():  # the processes, which start here, inherit it: an interrupt is for this one
                futures = [executor.submit(function, job) for job in jobs]
            for future in futures:
                future.add_done_callback(lambda done: _count(done, bar))
            futures.reverse()
            try:
                while futures:  # a result is let go once it is handed over
                    yield futures.pop().result()
            except BrokenProcessPool as error:
                reason = f"one of {n_workers} workers was ended (out of memory?)"
                raise InputError(f"{reason}: give fewer --workers") from error


def _count(future: Future[Result], bar: tqdm) -> None:
    if not future.cancelled() and future.exception() is None:
        bar.update()


@contextmanager
def _executor(n_processes: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that work until the block is left, or until this process is gone."""
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
    """Prepares a process: one thread of torch, and another that ends it when the other end of the pipe is closed."""
    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(watched,), daemon=True).start()


def _end_with(watched: Connection) -> None:
    watched.poll(None)
    os._exit(1)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
