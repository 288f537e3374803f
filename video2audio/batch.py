"""Sounds for many videos with one load of the models: each result once, and a row for each that failed."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from common.errors import InputError, printable
from common.files import LockedError, locked
from common.stopwatch import Stopwatch
from media.muxing import MuxPlan
from video2audio.files import FileForm, check_files
from video2audio.pipeline import FoleyPipeline
from video2audio.request import FoleyRequest
from video2audio.result import FoleyResult
from video2audio.videos import Job

log = logging.getLogger(__name__)

DONE, UNCHANGED, FAILED = "done", "unchanged", "failed"


@dataclass(frozen=True)
class Outcome:
    """What became of one result.

    Args:
        job: The video, and the place of the result.
        name: NAME in the names of its files.
        seed: Seed of the noise.
        status: ``done``, ``unchanged`` (it was there already, with the same settings) or ``failed``.
        reason: The error, if it failed.
        took_s: Seconds of work.
        paths: Files of the result.
    """

    job: Job
    name: str
    seed: int
    status: str
    reason: str = ""
    took_s: float = 0.0
    paths: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Pending:
    """A result whose files may still be on their way to disk.

    Args:
        job: The video.
        written: What becomes of it.
        generated_s: Seconds that its generation took.
        held: What to release when it is written, such as the lock of the video.
    """

    job: Job
    written: Future[Outcome]
    generated_s: float = 0.0
    held: ExitStack = field(default_factory=ExitStack)

    def outcome(self, watch: Stopwatch) -> Outcome:
        """Wait until the files are written; return what became of the result.

        Args:
            watch: Records the duration of the writing.

        Raises:
            InputError: A file cannot be written.
        """
        with self.held:
            outcome = self.written.result()
        if outcome.status == DONE:
            watch.add("write", outcome.took_s - self.generated_s)
        return outcome


@dataclass(frozen=True)
class Batch:
    """Makes the results of videos; while one is written, the next is generated.

    Args:
        pipeline: The models.
        seeds: Seeds of the sounds for each video; several results are numbered from 1.
        form: Formats of the files.
        models: Files of the models, which no result may replace.
        overwrite: Whether to make results again that are there with the same settings.
        progress: Whether to show the progress within a video.
    """

    pipeline: FoleyPipeline
    seeds: Sequence[int]
    form: FileForm
    models: Sequence[Path] = ()
    overwrite: bool = False
    progress: bool = False

    def run(self, job: Job, request: FoleyRequest, watch: Stopwatch, *, wait: bool = True) -> Iterator[Outcome]:
        """Make the results of one video that are not there yet.

        Args:
            job: The video, and the place of its results.
            request: The request for it.
            watch: Records the durations of the stages.
            wait: Whether to wait for another process that makes results of this video in the same place.

        Yields:
            What became of each result.

        Raises:
            LockedError: Another process works on it, unless `wait`.
            InputError: The request, a file or the place does not fit.
        """
        with ThreadPoolExecutor(1) as writer:
            for pending in _one_behind(self._pending(job, request, watch, writer, wait=wait)):
                yield pending.outcome(watch)

    def run_all(
        self, jobs: Sequence[Job], request_of: Callable[[Path], FoleyRequest], watch: Stopwatch
    ) -> Iterator[Outcome]:
        """Make the results of many videos; a failure is an outcome, and the others go on.

        Videos on which another process works are left to the end, so that two processes share a folder.

        Args:
            jobs: The videos.
            request_of: Makes the request for a video.
            watch: Records the durations of the stages.

        Yields:
            What became of each result, as soon as it is known.
        """
        with ThreadPoolExecutor(1) as writer:
            for pending in _one_behind(self._all_pending(jobs, request_of, watch, writer)):
                try:
                    yield pending.outcome(watch)
                except (InputError, OSError) as error:
                    yield self._failure(pending.job, error)

    def _all_pending(
        self, jobs: Sequence[Job], request_of: Callable[[Path], FoleyRequest], watch: Stopwatch, writer: Executor
    ) -> Iterator[_Pending]:
        """Yield the results of many videos, and a failure for each video of which there is none."""
        busy: list[Job] = []
        with tqdm(total=len(jobs), unit="video") as bar, logging_redirect_tqdm():
            for given, wait in ((jobs, False), (busy, True)):
                for job in given:
                    bar.set_postfix_str(printable(job.name), refresh=True)
                    try:
                        yield from self._pending(job, request_of(job.video), watch, writer, wait=wait)
                    except LockedError:
                        busy.append(job)
                        continue
                    except (InputError, OSError) as error:  # the second where a name is too long, or a disk fails
                        yield _Pending(job, _known(self._failure(job, error)))
                    bar.update()

    def _pending(
        self, job: Job, request: FoleyRequest, watch: Stopwatch, writer: Executor, *, wait: bool
    ) -> Iterator[_Pending]:
        """Yield the results of one video, generated and handed over to be written; see `run`."""
        request.check()
        names = names_of(job, len(self.seeds))
        found = check_files(request, job.folder, names, self.form, self.models)
        with ExitStack() as held:
            held.enter_context(locked(job.folder / f".{job.name}.lock", wait=wait))
            missing: dict[int, str] = {}
            for seed, files in zip(self.seeds, found, strict=True):
                if self.overwrite or not files.are_done(self.pipeline.record(request, seed)):
                    missing[seed] = files.name
                else:
                    yield _Pending(job, _known(Outcome(job, files.name, seed, UNCHANGED, paths=tuple(files.paths))))
            if not missing:
                return
            tell(request, found[0].plan)
            start_s = time.perf_counter()
            for result in self.pipeline.results(request, [*missing], progress=self.progress, watch=watch):
                generated_s = time.perf_counter() - start_s
                written = writer.submit(self._write, job, missing[result.seed], result, generated_s)
                is_last = result.seed == [*missing][-1]
                yield _Pending(job, written, generated_s, held.pop_all() if is_last else ExitStack())
                start_s = time.perf_counter()

    def _write(self, job: Job, name: str, result: FoleyResult, generated_s: float) -> Outcome:
        """Write a result whose generation took some time."""
        start_s = time.perf_counter()
        paths = result.save(job.folder, name, self.form)
        took_s = generated_s + time.perf_counter() - start_s
        return Outcome(job, name, result.seed, DONE, took_s=took_s, paths=tuple(paths))

    def _failure(self, job: Job, error: Exception) -> Outcome:
        return Outcome(job, job.name, self.seeds[0], FAILED, reason=printable(error))


def _known(outcome: Outcome) -> Future[Outcome]:
    """Return an outcome as a result that is there already."""
    known: Future[Outcome] = Future()
    known.set_result(outcome)
    return known


def _one_behind(results: Iterable[_Pending]) -> Iterator[_Pending]:
    """Yield each result when the next one is generated, or when that fails or is interrupted."""
    before: list[_Pending] = []
    try:
        for result in results:
            yield from before
            before = [result]
    except (InputError, OSError, KeyboardInterrupt):
        yield from before
        raise
    yield from before


def tell(request: FoleyRequest, plan: MuxPlan) -> None:
    """Say why a picture is compressed anew unasked, and what the new video cannot keep."""
    if plan.reason is not None:
        log.warning(
            "%s: the picture becomes H.264 (%s); --quality and --codec change that",
            printable(request.video),
            printable(plan.reason),
        )
    if plan.lost:
        log.warning("%s: not kept: %s", printable(request.video), printable(", ".join(plan.lost)))


def names_of(job: Job, n_samples: int) -> list[str]:
    """Return the names of the results of a video; several are numbered from 1."""
    return [job.name] if n_samples == 1 else [f"{job.name}_{i + 1}" for i in range(n_samples)]
