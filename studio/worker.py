"""The process that holds the models and generates; the server asks it for one job at a time."""

import logging
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol, TypeVar

from common.errors import InputError
from common.parallel import end_with
from session.begin import new_session
from session.models import generates_for
from session.work import Bars, Workshop
from stable_foley.checkpoint import BUNDLED, default_checkpoint
from studio.changes import Begin
from studio.history import History
from studio.library import Place
from video2audio.pipeline import FoleyPipeline
from video2audio.request import FoleyRequest
from video2rms.predict import BUNDLED_VIDEO2RMS

log = logging.getLogger(__name__)

Step = TypeVar("Step")


@dataclass(frozen=True)
class ModelChoice:
    """The models of the studio, as in `FoleyPipeline.from_checkpoint`."""

    checkpoint: Path | None = None
    video2rms: Path | None = None
    device: str | None = None
    dtype: str = "float32"
    set: tuple[str, ...] = ()

    def load(self) -> FoleyPipeline:
        """Load them.

        Raises:
            InputError: A file, an override or the device cannot be used.
        """
        checkpoint = self.checkpoint or default_checkpoint(self.set)
        video2rms = self.video2rms or BUNDLED_VIDEO2RMS
        return FoleyPipeline.from_checkpoint(checkpoint, video2rms, self.device, self.dtype, self.set)


class CancelledError(Exception):
    """The job was cancelled."""


class Flag(Protocol):
    """What says whether the job is to be cancelled: a value in shared memory, not 0 if it is."""

    value: int


class Runnable(Protocol):
    """A change of a session, see `studio.changes`."""

    @property
    def needs_model(self) -> bool:
        """Whether it may generate sound."""
        ...

    def run(self, work: Workshop, place: Place) -> None:
        """Change the session."""
        ...


def about(pipeline: FoleyPipeline) -> dict[str, Any]:
    """Return what the page and the server need to know of the models."""
    generator = pipeline.generator
    assert generator is not None
    settings = generator.settings
    checkpoint = pipeline.origin["checkpoint"]
    return {
        "model": "bundled" if checkpoint == BUNDLED else str(checkpoint),
        "defaults": {
            "n_steps": settings.n_steps,
            "cfg_scale": settings.cfg_scale,
            "level_match": settings.level_match_db > 0,
            "control_strength": 1.0,
        },
        "guidance": bool(generator.model.conditioner.prompts),
        "sample_rate_hz": generator.sample_rate_hz,
        "origin": {key: pipeline.origin[key] for key in ("set", "dtype", "models")},
    }


def work(messages: Connection, alive: Connection, cancelled: Flag, choice: ModelChoice) -> None:
    """Load the models, and run jobs until the server is gone.

    Args:
        messages: Jobs come in as (change, folder); `("ready", about)`, `("progress", stage, fraction)`, `("done",)`,
            `("cancelled",)` and `("failed", sentence)` go out.
        alive: Its other end is closed when the server ends, however that happens.
        cancelled: Set to cancel the job that runs.
        choice: The models.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server ends it
    end_with(alive)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        pipeline = choice.load()
    except InputError as error:
        messages.send(("unable", str(error)))
        return
    messages.send(("ready", about(pipeline)))
    while True:
        change, folder = messages.recv()
        messages.send(_outcome(change, Place(folder), pipeline, messages, cancelled))


def _outcome(
    change: Runnable, place: Place, pipeline: FoleyPipeline, messages: Connection, cancelled: Flag
) -> tuple[Any, ...]:
    """Run a job, and return the message that says how it ended."""
    try:
        if isinstance(change, Begin):
            messages.send(("progress", "reading the picture", None))
            _begin(place, pipeline, partial(_told, messages, cancelled, "reading the picture"))
        else:
            messages.send(("progress", "reading", None))
            run(change, place, pipeline, partial(_counted, messages, cancelled))
    except CancelledError:
        return ("cancelled",)
    except InputError as error:
        return ("failed", str(error))
    except Exception:  # whatever it is, the worker goes on
        log.exception("a job failed")
        return ("failed", "an unexpected error, which is a fault of the program: the terminal of the studio shows it")
    return ("done",)


def _begin(place: Place, pipeline: FoleyPipeline, on_progress: Callable[[float], None]) -> None:
    shutil.rmtree(place.session_folder, ignore_errors=True)  # of a prediction that was interrupted
    request = FoleyRequest(place.video)
    request.check()
    begun = new_session(place.session_folder, request, pipeline, on_progress=on_progress)
    History(begun.place).record("Open the video")


def run(
    change: Runnable, place: Place, pipeline: FoleyPipeline, bars: Bars | None = None, *, wait: bool = True
) -> None:
    """Run a change of a session.

    Args:
        change: The change.
        place: Where the session is.
        pipeline: The models; none are needed for changes without `needs_model`.
        bars: Show progress, see `Workshop`.
        wait: Whether to wait for another process that changes the session.

    Raises:
        LockedError: Another process changes the session, and it is not waited for.
        InputError: The change is not possible, or the session was made with other models.
    """
    opened = place.open()
    with opened.locked(wait=wait):
        opened = place.open()
        History(opened).catch_up()
        if change.needs_model and not generates_for(pipeline.origin, opened.session):
            raise InputError(
                f"this session was made with another model ({opened.session.model['checkpoint']}): start the studio "
                "with its --checkpoint, or open the video again"
            )
        change.run(Workshop(opened, pipeline, bars), place)


def _told(messages: Connection, cancelled: Flag, stage: str, share: float | None) -> None:
    """Say how far a stage is, or end the job when it is cancelled."""
    if cancelled.value:
        raise CancelledError
    messages.send(("progress", stage, share))


def _counted(messages: Connection, cancelled: Flag, stage: str) -> Callable[[Iterable[Step]], Iterator[Step]]:
    """Return what wraps sampling steps: it says how far they are, and ends them when the job is cancelled."""

    def counted(steps: Iterable[Step]) -> Iterator[Step]:
        every = list(steps)
        for number, step in enumerate(every):
            _told(messages, cancelled, stage, number / max(1, len(every)))
            yield step
        messages.send(("progress", "finishing", None))

    return counted
