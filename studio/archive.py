"""A session as one zip file, and a new session from such a file."""

import re
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from lzma import LZMAError
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files import atomic_path
from media.probe import probe
from media.sound_part import SoundPart
from session.folder import SessionFolder
from session.model import FILE, Session
from session.models import generates_for
from studio.history import History
from studio.library import GIB, Library, Place
from video2audio.record import fingerprint

_TRACK = r"tracks/[A-Za-z0-9][A-Za-z0-9_-]{0,40}"
_KNOWN = re.compile(
    rf"session/{FILE}|session/{_TRACK}/envelope\.csv|session/{_TRACK}/take-\d{{1,9}}\.(wav|safetensors|envelope\.csv)"
    r"|video\.[a-z0-9]{1,8}|files/[A-Za-z0-9][A-Za-z0-9._ -]{0,95}"
)
_MOST_FILES = 10_000


def write_archive(place: Place) -> Path:
    """Write a session, its video and its uploads to a zip file in its cache.

    Raises:
        InputError: The session is not begun, or the file cannot be written.
    """
    place.open()
    path = place.cache / "session.zip"
    wanted = (file.relative_to(place.folder).as_posix() for file in sorted(place.folder.rglob("*")) if file.is_file())
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name in filter(_KNOWN.fullmatch, wanted):
            archive.write(place.folder / name, name)
    return path


def read_archive(library: Library, path: Path, name: str, origin: Mapping[str, Any]) -> Place:
    """Make a new session of a zip file.

    Args:
        library: Where the session goes.
        path: The file.
        name: Name of the session for people.
        origin: The models of the studio; the session must have been made with them.

    Raises:
        InputError: It holds no session, something else, or too much.
    """
    place = library.new()
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            _check_members(members, library.most_bytes)
            library.check_room(sum(member.file_size for member in members))
            for member in members:
                target = place.folder / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("wb") as copy:
                    shutil.copyfileobj(source, copy)
        _adopt(place, origin)
        History(place.open()).record("Open the session")
        library.keep(place, name)
    except BaseException as error:
        library.remove(place)
        if isinstance(
            error, zipfile.BadZipFile | NotImplementedError | OSError | RuntimeError | zlib.error | LZMAError
        ):
            raise InputError(f"{name} cannot be read ({error}): give a session.zip of the studio") from None
        raise
    return place


def _check_members(members: list[zipfile.ZipInfo], most_bytes: int) -> None:
    """Refuse an archive with other files than those of a session, before anything is written."""
    for member in members:
        if not _KNOWN.fullmatch(member.filename):
            raise InputError(
                f"the archive holds {member.filename!r}, which is no part of a session: give a session.zip"
            )
    if len(members) > _MOST_FILES or len({member.filename for member in members}) < len(members):
        raise InputError(f"the archive holds more than {_MOST_FILES} files, or two of one name: give a session.zip")
    n_bytes = sum(member.file_size for member in members)
    if n_bytes > most_bytes:
        raise InputError(f"the archive holds {n_bytes / GIB:.1f} GiB: at most {most_bytes / GIB:.1f} are possible")


def _adopt(place: Place, origin: Mapping[str, Any]) -> None:
    """Make the paths of a session that comes from elsewhere those of its files here, whatever they were."""
    session, video = Session.read(place.session_folder), place.video
    info = probe(video)
    if not info.has_video or fingerprint(video) != session.fingerprint:
        raise InputError("the video in the archive is not that of the session: export the session again")
    if not generates_for(origin, session):
        raise InputError("the session was made with another model: start the studio with its --checkpoint")
    if session.start_s + session.duration_s > info.duration_s + 0.1:
        raise InputError("the session is longer than its video: export the session again")
    opened = SessionFolder(place.session_folder, session)
    for track in session.tracks:
        opened.envelope(track)
        for take in track.takes:
            opened.take_envelope(track, take)
            opened.generated(track, take)
    tracks = []
    for track in session.tracks:
        names = [SoundPart.parse(prompt).path.name for prompt in track.audio_prompts]
        tracks.append(replace(track, audio_prompts=tuple(str(place.file(name).resolve()) for name in names)))
    replace(session, video=str(video.resolve()), tracks=tuple(tracks)).write(place.session_folder)
