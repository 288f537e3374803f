"""The JSON requests of the page."""

import re
import shutil
from pathlib import Path
from typing import Annotated, Any

import torch
from fastapi import APIRouter, Depends, HTTPException, Request, UploadFile
from fastapi.responses import FileResponse, Response

from common.errors import InputError
from media.envelope import read_envelope_csv
from media.probe import probe
from studio.archive import read_archive, write_archive
from studio.changes import Change
from studio.library import Place
from studio.pictures import original_sound, spectrogram_tile, thumbnail_sheet
from studio.schema import About, JobsView, JobView, Limits, Opened, SessionRow, SessionView, Uploaded, revision
from studio.server import Studio

_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")
_FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}


def _studio(request: Request) -> Studio:
    studio: Studio = request.app.state.studio
    return studio


TheStudio = Annotated[Studio, Depends(_studio)]


def _place(session_id: str, studio: TheStudio) -> Place:
    return studio.place(session_id)


ThePlace = Annotated[Place, Depends(_place)]
router = APIRouter()


@router.get("/about")
def about(studio: TheStudio) -> About:
    """Return the models and the limits of the studio."""
    known = studio.jobs.about
    settings = studio.settings
    limits = Limits(upload_bytes=settings.most_upload_bytes, duration_s=settings.longest_s)
    shown = {key: known[key] for key in ("model", "defaults", "guidance", "sample_rate_hz")} if known else {}
    return About(ready=known is not None, limits=limits, **shown)


@router.get("/sessions")
def sessions(studio: TheStudio) -> list[SessionRow]:
    """Return all sessions, the last changed first."""
    rows = []
    for place in studio.library:
        try:
            rows.append(SessionRow.of(place))
        except Exception:  # noqa: BLE001 (damaged, however that happened: it can still be deleted)
            rows.append(
                SessionRow(id=place.id, name=place.name, duration_s=None, changed=place.changed, n_takes=0, bytes=0)
            )
    return rows


@router.post("/sessions", status_code=201)
def new_session(video: UploadFile, studio: TheStudio) -> Opened:
    """Begin a session with a video."""
    studio.library.check_room(video.size or 0)
    name = (video.filename or "").replace("\\", "/").rsplit("/", 1)[-1] or "video"
    suffix = Path(name).suffix.lower()
    place = studio.library.new()
    try:
        path = place.folder / f"video{suffix if _SUFFIX.fullmatch(suffix) else '.mp4'}"
        with path.open("wb") as file:
            shutil.copyfileobj(video.file, file)
        _check_video(path, name, studio.settings.longest_s)
        studio.library.keep(place, name)
        job = studio.begin(place)
        return Opened(session=SessionView.of(place), job=JobView.of(job) if job else None)
    except BaseException as error:
        studio.library.remove(place)
        if isinstance(error, InputError):  # of a path that means nothing to the person
            raise InputError(str(error).replace(str(place.folder / path.name), name)) from None
        raise


def _check_video(path: Path, name: str, longest_s: float) -> None:
    info = probe(path)
    if not info.has_video:
        raise InputError(f"{name} has no picture: give a video")
    if info.duration_s > longest_s:
        raise InputError(
            f"{name} lasts {info.duration_s:.0f} s, and the studio takes at most {longest_s:.0f} s: cut it, or "
            "start the studio with --longest"
        )


@router.post("/sessions/open", status_code=201)
def open_archive(archive: UploadFile, studio: TheStudio) -> Opened:
    """Open a session that was saved as a zip file."""
    studio.library.check_room(archive.size or 0)
    if studio.jobs.about is None:
        raise HTTPException(503, "the model is still being loaded: try again in some seconds")
    with studio.library.upload(archive.file) as path:
        name = Path(archive.filename or "session").stem
        place = read_archive(studio.library, path, name, studio.jobs.about["origin"])
    return Opened(session=SessionView.of(place))


@router.get("/sessions/{session_id}")
def session(place: ThePlace, studio: TheStudio) -> SessionView:
    """Return a session; one whose prediction was interrupted goes on."""
    studio.begin(place)
    return SessionView.of(place)


@router.delete("/sessions/{session_id}", status_code=204)
def delete_session(place: ThePlace, studio: TheStudio) -> None:
    """Delete a session with all its files."""
    studio.jobs.wait_idle(place)
    studio.library.remove(place)


@router.get("/sessions/{session_id}/jobs")
def jobs(place: ThePlace, studio: TheStudio) -> JobsView:
    """Return the jobs that wait, run, or ended within a minute."""
    listed = [JobView.of(job) for job in studio.jobs.of(place)]
    return JobsView(revision=revision(place), jobs=listed)


@router.post("/sessions/{session_id}/jobs", status_code=202)
def add_job(change: Change, place: ThePlace, studio: TheStudio) -> JobView:
    """Change a session."""
    return JobView.of(studio.change(place, change))


@router.delete("/sessions/{session_id}/jobs/{job_id}", status_code=204)
def cancel_job(job_id: str, place: ThePlace, studio: TheStudio) -> None:
    """Cancel a job."""
    for job in studio.jobs.of(place):
        if job.id == job_id:
            studio.jobs.cancel(job)
            return
    raise HTTPException(404, "there is no such job: it may have ended long ago")


@router.get("/sessions/{session_id}/video")
def video(place: ThePlace, studio: TheStudio) -> FileResponse:
    """Return the video for the browser to play."""
    path, mime = studio.previews.playable(place)
    return FileResponse(path, media_type=mime)


@router.get("/sessions/{session_id}/thumbnails")
def thumbnails(place: ThePlace) -> dict[str, Any]:
    """Return times, size and columns of the sheet of thumbnails."""
    return thumbnail_sheet(place)[0]


@router.get("/sessions/{session_id}/thumbnails.jpg")
def thumbnails_picture(place: ThePlace) -> FileResponse:
    """Return the sheet of thumbnails."""
    return FileResponse(thumbnail_sheet(place)[1], headers=_FOREVER)


@router.get("/sessions/{session_id}/original")
def original(place: ThePlace) -> FileResponse:
    """Return the original sound of the part of the video."""
    path = original_sound(place)
    if path is None:
        raise HTTPException(404, "the video has no sound")
    return FileResponse(path, headers=_FOREVER)


@router.get("/sessions/{session_id}/tracks/{track}/envelope")
def envelope(track: str, place: ThePlace) -> Response:
    """Return the envelope of a track as little-endian float32."""
    opened = place.open()
    rms = read_envelope_csv(opened.envelope_path(opened.session.track(track))).rms
    return Response(rms.to(torch.float32).numpy().astype("<f4").tobytes(), media_type="application/octet-stream")


@router.get("/sessions/{session_id}/tracks/{track}/takes/{take}/sound")
def sound(track: str, take: int, place: ThePlace) -> FileResponse:
    """Return the sound of a take as wav."""
    return FileResponse(_sound_path(place, track, take), media_type="audio/wav", headers=_FOREVER)


@router.get("/sessions/{session_id}/tracks/{track}/takes/{take}/spectrogram/{number}.png")
def spectrogram(track: str, take: int, number: int, place: ThePlace) -> Response:
    """Return a part of 10 s of the spectrogram of a take."""
    content = spectrogram_tile(place, _sound_path(place, track, take), number) if number >= 0 else None
    if content is None:
        raise HTTPException(404, "the take ends before this part")
    return Response(content, media_type="image/png", headers=_FOREVER)


def _sound_path(place: Place, track: str, take: int) -> Path:
    opened = place.open()
    found = opened.session.track(track)
    path = opened.sound_path(found, found.take(take))
    if not path.is_file():
        raise HTTPException(404, f"the sound of take {take} is gone: discard it")
    return path


@router.post("/sessions/{session_id}/files", status_code=201)
def upload(file: UploadFile, place: ThePlace, studio: TheStudio) -> Uploaded:
    """Take a sound, MIDI, table or label file, to be used by a change."""
    studio.library.check_room(file.size or 0)
    path = place.new_file(file.filename or "file")
    with path.open("wb") as target:
        shutil.copyfileobj(file.file, target)
    return Uploaded(name=path.name)


@router.get("/sessions/{session_id}/exports/{name}")
def exported(name: str, place: ThePlace) -> FileResponse:
    """Return a file of the last export."""
    for path in place.exports.glob("*"):
        if path.name == name:
            return FileResponse(path, filename=name)
    raise HTTPException(404, "there is no such file: export again")


@router.get("/sessions/{session_id}/archive")
def archive(place: ThePlace) -> FileResponse:
    """Return the session as a zip file, which the studio opens again."""
    return FileResponse(write_archive(place), filename=f"{place.stem}.session.zip")
