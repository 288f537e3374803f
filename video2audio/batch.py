"""Sounds for many videos with one load of the models: each result once, and a row for each that failed."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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
class Batch:
    """Makes the results of videos.

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
        request.check()
        names = names_of(job, len(self.seeds))
        found = check_files(request, job.folder, names, self.form, self.models)
        with locked(job.folder / f".{job.name}.lock", wait=wait):
            missing: dict[int, str] = {}
            for seed, files in zip(self.seeds, found, strict=True):
                if self.overwrite or not files.are_done(self.pipeline.record(request, seed)):
                    missing[seed] = files.name
                else:
                    yield Outcome(job, files.name, seed, UNCHANGED, paths=tuple(files.paths))
            if missing:
                tell(request, found[0].plan)
            start_s = time.perf_counter()
            folder = job.folder / f".{job.name}.unfinished"
            for result in self._results(request, list(missing), watch, folder):
                name = missing[result.seed]
                with watch.stage("write"):
                    paths = result.save(job.folder, name, self.form)
                now_s = time.perf_counter()
                yield Outcome(job, name, result.seed, DONE, took_s=now_s - start_s, paths=tuple(paths))
                start_s = now_s

    def _results(
        self, request: FoleyRequest, seeds: Sequence[int], watch: Stopwatch, folder: Path
    ) -> Iterator[FoleyResult]:
        """Yield the results of some seeds; without any, no input is read."""
        if seeds:
            yield from self.pipeline.results(request, seeds, progress=self.progress, watch=watch, folder=folder)

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
        busy: list[Job] = []
        with tqdm(total=len(jobs), unit="video") as bar, logging_redirect_tqdm():
            for pending, wait in ((jobs, False), (busy, True)):
                for job in pending:
                    bar.set_postfix_str(printable(job.name), refresh=True)
                    try:
                        yield from self.run(job, request_of(job.video), watch, wait=wait)
                    except LockedError:
                        busy.append(job)
                        continue
                    except (InputError, OSError) as error:  # the second where a name is too long, or a disk fails
                        yield Outcome(job, job.name, self.seeds[0], FAILED, reason=printable(error))
                    bar.update()


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
