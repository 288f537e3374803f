"""The queue of jobs, and the worker process that runs them one after the other."""

import multiprocessing
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

from common.errors import InputError
from studio.library import Place
from studio.worker import ModelChoice, work

MOST_QUEUED = 50
MOST_STARTS = 3
"""Times the worker is started before the models are given up."""
KEPT_S = 60.0
"""How long jobs that ended are listed."""
PATIENCE_S = 2.0
"""Time that a cancelled job has to end by itself; then the worker is replaced."""

_OPTION = re.compile(r"(?<![\w-])--(?=[a-z])")
Status = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(eq=False)
class Job:
    """A change of a session that takes time."""

    place: Place
    change: Any
    id: str = field(default_factory=lambda: secrets.token_hex(4))
    status: Status = "queued"
    stage: str | None = None
    fraction: float | None = None
    error: str | None = None
    started: datetime | None = None
    ended_s: float | None = None
    _running_since_s: float = 0.0

    @property
    def remaining_s(self) -> float | None:
        """Time that it will still take, if that can be told."""
        if self.status != "running" or not self.fraction or self.fraction < 0.05:
            return None
        return (time.monotonic() - self._running_since_s) * (1 - self.fraction) / self.fraction

    def start(self) -> None:
        """Say that it runs."""
        self.status, self.started, self._running_since_s = "running", datetime.now(UTC), time.monotonic()

    def progress(self, stage: str, fraction: float | None) -> None:
        """Say how far it is; the remaining time counts from the start of a stage."""
        if stage != self.stage:
            self._running_since_s = time.monotonic()
        self.stage, self.fraction = stage, fraction

    def end(self, status: Status, error: str | None = None) -> None:
        """Say how it ended."""
        self.status, self.stage, self.fraction = status, None, None
        self.error = None if error is None else for_page(error, self.place.folder.parent)
        self.ended_s = time.monotonic()

    @property
    def is_open(self) -> bool:
        """Whether it waits or runs."""
        return self.status in ("queued", "running")


def for_page(sentence: str, folder: Path) -> str:
    """Return an error without the dashes of options, which the page does not have, and without the server's folders.

    Args:
        sentence: The error.
        folder: The folder of all sessions.
    """
    return _OPTION.sub("", re.sub(rf"{re.escape(str(folder))}/[0-9a-f]+/", "", sentence))


class QueueFullError(Exception):
    """There are too many jobs."""


class Worker:
    """The worker process; it is started when it is needed, and again after it was ended."""

    def __init__(self, choice: ModelChoice) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._choice = choice
        self.about: dict[str, Any] | None = None
        """What it says of its models, see `studio.worker.about`; None: it still loads them."""
        self.cancelled = self._context.RawValue("b", 0)  # without a lock, which a killed process would keep
        self._process: BaseProcess | None = None
        self._messages: Connection | None = None
        self._alive: Connection | None = None

    def start(self) -> None:
        """Start the process, unless it runs."""
        if self._process is not None and self._process.is_alive():
            return
        self.end()
        self._messages, theirs = self._context.Pipe()
        watched, self._alive = self._context.Pipe(duplex=False)
        self._process = self._context.Process(
            target=work, args=(theirs, watched, self.cancelled, self._choice), daemon=True
        )
        self._process.start()
        theirs.close()
        watched.close()

    def kill(self) -> None:
        """End the process, whatever it does; the job that it runs ends then."""
        if self._process is not None:
            self._process.kill()

    def end(self) -> None:
        """End the process, and forget it."""
        self.kill()
        if self._process is not None:
            self._process.join()
        for pipe in (self._messages, self._alive):
            if pipe is not None:
                pipe.close()
        self._process = self._messages = self._alive = None

    def load(self) -> bool:
        """Start the process, and wait until it has loaded the models; return False if it ended before.

        Raises:
            InputError: They cannot be loaded.
        """
        self.start()
        assert self._messages is not None
        try:
            match self._messages.recv():
                case ("ready", about):
                    self.about = about
                case ("unable", sentence):
                    raise InputError(sentence)
        except (EOFError, OSError):
            self.end()
        return self.about is not None

    def run(self, job: Job) -> None:
        """Run a job to its end; a worker that ends before fails it."""
        self.start()
        assert self._messages is not None
        job.progress("loading the model", None)
        try:
            self._messages.send((job.change, job.place.folder))
            while job.is_open:
                self._receive(job)
        except (EOFError, OSError):
            self.end()
            if job.status == "running":
                if self.cancelled.value:
                    job.end("cancelled")
                else:
                    job.end("failed", "the worker process ended (is memory short?): give the job again")

    def _receive(self, job: Job) -> None:
        assert self._messages is not None
        match self._messages.recv():
            case ("ready", about):
                self.about = about
            case ("progress", stage, fraction):
                job.progress(stage, fraction)
            case ("done",):
                job.end("done")
            case ("cancelled",):
                job.end("cancelled")
            case ("failed" | "unable", sentence):
                job.end("failed", sentence)


class Jobs:
    """Runs the jobs of all sessions, one after the other.

    Args:
        choice: The models.
        on_end: Called after a job has ended.
        on_unable: Called with a sentence if the models cannot be loaded.
    """

    def __init__(self, choice: ModelChoice, on_end: Callable[[Job], None], on_unable: Callable[[str], None]) -> None:
        self._jobs: list[Job] = []
        self._changed = threading.Condition()
        self._closed = False
        self._on_end, self._on_unable = on_end, on_unable
        self._worker = Worker(choice)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Start the worker, which loads the models."""
        self._thread.start()

    def close(self) -> None:
        """End the worker; jobs that have not ended are lost."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._worker.kill()
        if self._thread.is_alive():
            self._thread.join()
        self._worker.end()

    @property
    def about(self) -> dict[str, Any] | None:
        """What the worker says of its models; None: it still loads them."""
        return self._worker.about

    def add(self, place: Place, change: Any) -> Job:
        """Queue a job.

        Raises:
            QueueFullError: There are too many.
        """
        with self._changed:
            if sum(job.is_open for job in self._jobs) >= MOST_QUEUED:
                raise QueueFullError
            job = Job(place, change)
            self._jobs.append(job)
            self._changed.notify_all()
            return job

    def of(self, place: Place) -> list[Job]:
        """Return the jobs of a session that wait, run, or ended lately."""
        with self._changed:
            now = time.monotonic()
            self._jobs = [job for job in self._jobs if job.ended_s is None or now - job.ended_s < KEPT_S]
            return [job for job in self._jobs if job.place.id == place.id]

    def is_busy(self, place: Place) -> bool:
        """Return whether a job of a session waits or runs."""
        return any(job.is_open for job in self.of(place))

    def cancel(self, job: Job) -> None:
        """Cancel a job; one that runs ends soon, after which the models may have to be loaded again."""
        with self._changed:
            was_queued = job.status == "queued"
            if was_queued:
                job.end("cancelled")
        if was_queued:
            self._on_end(job)
        with self._changed:
            if job.status != "running":
                return
            self._worker.cancelled.value = 1
        threading.Timer(PATIENCE_S, self._insist, (job,)).start()

    def _insist(self, job: Job) -> None:
        if job.status == "running" and self._worker.cancelled.value:
            self._worker.kill()

    def wait_idle(self, place: Place) -> None:
        """Cancel all jobs of a session, and wait until they have ended."""
        for job in self.of(place):
            self.cancel(job)
        while self.is_busy(place):
            time.sleep(0.05)

    def _next(self) -> Job | None:
        """Wait for a job, and say that it runs; return None when the queue is closed."""
        with self._changed:
            while not self._closed:
                for job in self._jobs:
                    if job.status == "queued":
                        self._worker.cancelled.value = 0
                        job.start()
                        return job
                self._changed.wait()
            return None

    def _load(self) -> None:
        """Wait until the worker has loaded the models.

        Raises:
            InputError: They cannot be loaded.
        """
        for _ in range(MOST_STARTS):
            if self._closed or self._worker.load():
                return
        raise InputError(
            f"the worker process ended {MOST_STARTS} times while it loaded the models (is memory short?): close other "
            "programs, and start the studio again"
        )

    def _run(self) -> None:
        try:
            self._load()
        except InputError as error:
            self._on_unable(str(error))
            return
        while (job := self._next()) is not None:
            self._worker.run(job)
            self._on_end(job)
