"""What the server tells the page, as JSON; times are seconds of the video."""

from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from media.envelope import read_envelope_csv
from media.probe import MediaInfo, probe
from media.sound_part import SoundPart
from session.folder import SessionFolder
from session.model import FILE, Session, Take, Track
from session.work import hits_in_video
from studio.history import HISTORY, NOW, History
from studio.jobs import Job
from studio.library import Place


class JobView(BaseModel):
    """A job."""

    id: str
    kind: str
    title: str
    status: str
    stage: str | None
    fraction: float | None
    remaining_s: float | None
    error: str | None
    started: datetime | None

    @classmethod
    def of(cls, job: Job) -> "JobView":
        """Describe a job."""
        return cls(
            id=job.id,
            kind=job.change.kind,
            title=job.change.title,
            status=job.status,
            stage=job.stage,
            fraction=job.fraction,
            remaining_s=job.remaining_s,
            error=job.error,
            started=job.started,
        )


class JobsView(BaseModel):
    """The jobs of a session, and which state of it is the present one."""

    revision: str
    jobs: list[JobView]


class HitView(BaseModel):
    """A hit, see `hits.edit.Hit`."""

    time_s: float
    level: float
    decay_s: float


class TakeView(BaseModel):
    """A take, see `session.model.Take`; `best` is that with the best score of its track."""

    number: int
    seed: int
    onset_f1: float | None
    level_error_db: float
    likeness: float | None
    from_take: int | None
    regions_s: list[tuple[float, float]]
    best: bool

    @classmethod
    def of(cls, take: Take, best: Take) -> "TakeView":
        """Describe a take."""
        origin = take.origin
        regions = [origin["region_s"]] if "region_s" in origin else origin.get("regions_s", [])
        return cls(
            number=take.number,
            seed=take.seed,
            onset_f1=take.onset_f1,
            level_error_db=take.level_error_db,
            likeness=take.likeness,
            from_take=origin.get("take"),
            regions_s=[tuple(region) for region in regions],
            best=take.number == best.number,
        )


class TrackView(BaseModel):
    """A track, see `session.model.Track`."""

    name: str
    prompt: str | None
    negative_prompt: str | None
    audio_prompts: list[str]
    gain_db: float
    pan: float
    muted: bool
    kept: int | None
    envelope_rate_hz: float
    envelope_version: int
    hits: list[HitView]
    takes: list[TakeView]

    @classmethod
    def of(cls, track: Track, place: SessionFolder) -> "TrackView":
        """Describe a track of a session."""
        path = place.envelope_path(track)
        version = path.stat().st_mtime_ns // 1000  # fits the whole numbers of JavaScript
        rate_hz, hits = _hits(path, version, place.session.start_s)
        best = min(track.takes, key=lambda take: take.rank, default=None)
        return cls(
            name=track.name,
            prompt=track.prompt,
            negative_prompt=track.negative_prompt,
            audio_prompts=[SoundPart.parse(prompt).path.name for prompt in track.audio_prompts],
            gain_db=track.gain_db,
            pan=track.pan,
            muted=track.muted,
            kept=track.kept,
            envelope_rate_hz=rate_hz,
            envelope_version=version,
            hits=[HitView(time_s=time_s, level=level, decay_s=decay_s) for time_s, level, decay_s in hits],
            takes=[] if best is None else [TakeView.of(take, best) for take in track.takes],
        )


class VideoView(BaseModel):
    """The video of a session."""

    name: str
    width: int
    height: int
    rate_hz: float
    duration_s: float
    has_sound: bool


class SettingsView(BaseModel):
    """Settings of generation; null means as the checkpoint says."""

    n_steps: int | None
    cfg_scale: float | None
    level_match: bool | None
    control_strength: float | None

    @classmethod
    def of(cls, settings: dict[str, Any]) -> "SettingsView":
        """Describe the settings of a session."""
        match_db = settings.get("level_match_db")
        return cls(
            n_steps=settings.get("n_steps"),
            cfg_scale=settings.get("cfg_scale"),
            level_match=None if match_db is None else match_db > 0,
            control_strength=settings.get("control_strength"),
        )


class FileView(BaseModel):
    """A file of the last export."""

    name: str
    bytes: int


class SessionView(BaseModel):
    """A session; `undo` and `again` say what these would do."""

    id: str
    name: str
    revision: str
    folder: str
    start_s: float
    duration_s: float
    headroom_db: float | None
    original_gain_db: float | None
    video: VideoView
    settings: SettingsView
    undo: str | None
    again: str | None
    exports: list[FileView]
    tracks: list[TrackView]

    @classmethod
    def of(cls, place: Place) -> "SessionView":
        """Describe a session; before it is begun, it has no tracks.

        Raises:
            InputError: It is damaged.
        """
        now, info = revision(place), _info(place.video)
        opened = place.open() if place.is_begun else None
        session = opened.session if opened else Session("", "", 0.0, info.duration_s, {})
        history = History(opened) if opened else None
        return cls(
            id=place.id,
            name=place.name,
            revision=now,
            folder=str(place.session_folder.resolve()),
            start_s=session.start_s,
            duration_s=session.duration_s,
            headroom_db=session.headroom_db,
            original_gain_db=session.original_gain_db,
            video=VideoView(
                name=place.name,
                width=info.width,
                height=info.height,
                rate_hz=info.frame_rate_hz,
                duration_s=info.duration_s,
                has_sound=info.has_sound,
            ),
            settings=SettingsView.of(dict(session.settings)),
            undo=history.undoes() if history else None,
            again=history.redoes() if history else None,
            exports=[FileView(name=path.name, bytes=path.stat().st_size) for path in sorted(place.exports.glob("*"))],
            tracks=[TrackView.of(track, opened) for track in session.tracks] if opened else [],
        )


class SessionRow(BaseModel):
    """A session in the list of all."""

    id: str
    name: str
    duration_s: float | None
    changed: datetime
    n_takes: int
    bytes: int

    @classmethod
    def of(cls, place: Place) -> "SessionRow":
        """Describe a session.

        Raises:
            InputError: It is damaged.
        """
        session = place.open().session if place.is_begun else None
        return cls(
            id=place.id,
            name=place.name,
            duration_s=session.duration_s if session else None,
            changed=place.changed,
            n_takes=sum(len(track.takes) for track in session.tracks) if session else 0,
            bytes=place.n_bytes,
        )


class Limits(BaseModel):
    """What is taken."""

    upload_bytes: int
    duration_s: float


class About(BaseModel):
    """The models and limits of the studio; values are null until the models are loaded."""

    ready: bool
    model: str | None = None
    defaults: dict[str, Any] | None = None
    guidance: bool | None = None
    sample_rate_hz: int | None = None
    limits: Limits


class Uploaded(BaseModel):
    """The name of an uploaded file."""

    name: str


class Opened(BaseModel):
    """A new session, and the job that predicts its envelope."""

    session: SessionView
    job: JobView | None = None


def revision(place: Place) -> str:
    """Return what changes whenever a session changes."""
    paths = (place.session_folder / FILE, place.session_folder / HISTORY / NOW, place.exports)
    return "-".join(str(path.stat().st_mtime_ns) if path.exists() else "" for path in paths)


@lru_cache(maxsize=64)
def _hits(path: Path, version: int, start_s: float) -> tuple[float, list[tuple[float, float, float]]]:
    """Return rate and hits of an envelope; the version tells that a file is another one."""
    envelope = read_envelope_csv(path)
    hits = hits_in_video(envelope, start_s).hits
    return envelope.rate_hz, [(hit.time_s, hit.level, hit.decay_s) for hit in hits]


@lru_cache(maxsize=64)
def _info(video: Path) -> MediaInfo:
    return probe(video)
