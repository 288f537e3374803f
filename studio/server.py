"""The state of the server: its sessions, its jobs, and which changes are made at once."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException

from common.files import LockedError
from studio.changes import Begin
from studio.jobs import Job, Jobs
from studio.library import Library, Place
from studio.pictures import Previews
from studio.worker import ModelChoice, run
from video2audio.pipeline import FoleyPipeline

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StudioSettings:
    """How the studio is set up.

    Args:
        library: Its sessions.
        choice: Its models.
        longest_s: Longest video that is taken.
        most_upload_bytes: Largest file that is taken.
        hosts: Values of the header Host that are allowed; None: any, for which `token` is needed.
        token: Secret that a browser must know; None: none is needed.
        on_unable: Called with a sentence if the models cannot be loaded.
    """

    library: Library
    choice: ModelChoice
    longest_s: float = 600.0
    most_upload_bytes: int = 2 * 2**30
    hosts: Sequence[str] | None = None
    token: str | None = None
    on_unable: Callable[[str], None] = log.error


class Studio:
    """The sessions and the jobs of the server.

    Args:
        settings: How it is set up.
    """

    def __init__(self, settings: StudioSettings) -> None:
        self.settings, self.library = settings, settings.library
        self.jobs = Jobs(settings.choice, self._ended, settings.on_unable)
        self.previews = Previews()

    def _ended(self, job: Job) -> None:
        """Remove a new session whose prediction was cancelled; one that failed stays, and can be opened or deleted."""
        if isinstance(job.change, Begin) and job.status == "cancelled":
            self.library.remove(job.place)

    def place(self, session_id: str) -> Place:
        """Return the folder of a session, or answer that there is none."""
        try:
            return self.library.place(session_id)
        except KeyError:
            raise HTTPException(404, "there is no such session: it may have been deleted") from None

    def change(self, place: Place, change: Any) -> Job:
        """Change a session: at once if that is quick and nothing else is to be done before, else as a job.

        Raises:
            InputError: A quick change is not possible.
        """
        if not change.is_quick or self.jobs.is_busy(place):
            return self.jobs.add(place, change)
        job = Job(place, change)
        job.start()
        try:
            run(change, place, FoleyPipeline(None, None), wait=False)
        except LockedError:
            return self.jobs.add(place, change)
        job.end("done")
        return job

    def begin(self, place: Place) -> Job | None:
        """Predict the envelope of a session that has none yet, unless that is being done or just failed."""
        tried = any(isinstance(job.change, Begin) for job in self.jobs.of(place))
        return None if place.is_begun or tried else self.jobs.add(place, Begin())
