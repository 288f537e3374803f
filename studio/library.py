"""The folder of the studio: a folder for each session, with its video, uploads, exports and caches."""

import json
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from common.errors import InputError
from common.files import atomic_path
from session.folder import SessionFolder
from session.model import FILE, Session
from studio.history import HISTORY, NOW, History

_ID = re.compile(r"[0-9a-f]{16}")
_UNSAFE = re.compile(r"[^A-Za-z0-9._ -]+")
_LONGEST_NAME = 80
_REMOVALS, _BETWEEN_S = 20, 0.1
ABOUT = "about.json"
GIB = 2**30


@dataclass(frozen=True)
class Place:
    """The folder of one session in the studio.

    Args:
        folder: The folder, whose name is the id of the session.
    """

    folder: Path

    @property
    def id(self) -> str:
        """Id of the session."""
        return self.folder.name

    @property
    def session_folder(self) -> Path:
        """The session itself, which ``python -m session`` can open."""
        return self.folder / "session"

    @property
    def exports(self) -> Path:
        """Files of the last export."""
        return self.folder / "exports"

    @property
    def files(self) -> Path:
        """Uploaded files, other than the video."""
        return self.folder / "files"

    @property
    def cache(self) -> Path:
        """What can be made again."""
        return self.folder / "cache"

    @property
    def video(self) -> Path:
        """The video.

        Raises:
            InputError: It is gone.
        """
        found = sorted(path for path in self.folder.glob("video.*") if path.is_file())
        if not found:
            raise InputError("the video of this session is gone: delete the session, and open the video again")
        return found[0]

    @property
    def name(self) -> str:
        """Name for people: that of the uploaded file."""
        return str(self._about.get("name", self.id))

    @property
    def stem(self) -> str:
        """NAME in the names of exported files."""
        return Path(safe_name(self.name)).stem or "video"

    @property
    def _about(self) -> dict[str, str]:
        try:
            return dict(json.loads((self.folder / ABOUT).read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}

    @property
    def is_begun(self) -> bool:
        """Whether there is a session yet; before, its envelope is being predicted."""
        return (self.session_folder / HISTORY / NOW).is_file()

    def open(self) -> SessionFolder:
        """Return the session.

        Raises:
            InputError: It is damaged, or not begun.
        """
        return SessionFolder(self.session_folder, Session.read(self.session_folder))

    def file(self, name: str) -> Path:
        """Return an uploaded file by the name that it was given.

        Raises:
            InputError: There is none.
        """
        for path in self.files.glob("*"):
            if path.name == name and path.is_file():
                return path
        raise InputError(f"there is no uploaded file {name!r} in this session: upload it first")

    def new_file(self, name: str) -> Path:
        """Return a path for a new file, named after what a person calls it."""
        self.files.mkdir(exist_ok=True)
        path = self.files / safe_name(name)
        number = 2
        while path.exists():
            path = self.files / f"{Path(safe_name(name)).stem}-{number}{path.suffix}"
            number += 1
        return path

    @property
    def n_bytes(self) -> int:
        """Size of all its files; one that has several names counts once."""
        files = (path.stat() for path in self.folder.rglob("*") if path.is_file())
        return sum({file.st_ino: file.st_size for file in files}.values())

    @property
    def changed(self) -> datetime:
        """When it was changed last."""
        path = self.session_folder / FILE
        return datetime.fromtimestamp((path if path.is_file() else self.folder).stat().st_mtime, UTC)


@dataclass(frozen=True)
class Library:
    """All sessions of the studio.

    Args:
        folder: The folder of the studio.
        most_bytes: Disk space from which on no new video is taken.
    """

    folder: Path
    most_bytes: int

    def __iter__(self) -> Iterator[Place]:
        """Yield the sessions, the last changed first."""
        found = [Place(path) for path in self.folder.glob("*/") if _ID.fullmatch(path.name) and _is_kept(path)]
        yield from sorted(found, key=lambda place: place.changed, reverse=True)

    def place(self, id: str) -> Place:
        """Return the folder of a session by its id.

        Raises:
            KeyError: There is no such session.
        """
        place = Place(self.folder / id)
        if not _ID.fullmatch(id) or not _is_kept(place.folder):
            raise KeyError(id)
        return place

    def new(self) -> Place:
        """Make the folder of a new session; it is listed once `keep` is called."""
        place = Place(self.folder / secrets.token_hex(8))
        place.folder.mkdir(parents=True)
        return place

    def keep(self, place: Place, name: str) -> None:
        """List a session, whose files are complete, under a name for people."""
        with atomic_path(place.folder / ABOUT) as temporary:
            temporary.write_text(json.dumps({"name": name[:_LONGEST_NAME]}), encoding="utf-8")

    def remove(self, place: Place) -> None:
        """Remove a session with all its files."""
        (place.folder / ABOUT).unlink(missing_ok=True)  # so that it is not listed while it is removed
        for _ in range(_REMOVALS):
            shutil.rmtree(place.folder, ignore_errors=True)
            if not place.folder.exists():
                return
            time.sleep(_BETWEEN_S)  # a change that had begun before may still write

    @contextmanager
    def upload(self, source: IO[bytes]) -> Iterator[Path]:
        """Yield an uploaded file, which is removed afterwards."""
        place = self.new()
        try:
            path = place.folder / "upload"
            with path.open("wb") as target:
                shutil.copyfileobj(source, target)
            yield path
        finally:
            self.remove(place)

    def clean(self) -> None:
        """Remove what interrupted uploads have left."""
        for path in self.folder.glob("*/"):
            if _ID.fullmatch(path.name) and not _is_kept(path):
                shutil.rmtree(path, ignore_errors=True)

    def check_room(self, n_bytes: int = 0) -> None:
        """Refuse a new file for which there is no room; caches and takes that no undo brings back are removed first.

        Args:
            n_bytes: Size of the file, as far as it is known.

        Raises:
            InputError: There is no room.
        """
        if self._used + n_bytes <= self.most_bytes:
            return
        for place in self:
            shutil.rmtree(place.cache, ignore_errors=True)
            with suppress(InputError):  # a damaged session
                if place.is_begun:
                    with place.open().locked():  # one that is being changed is left as it is
                        History(place.open()).forget_takes()
        if self._used + n_bytes > self.most_bytes:
            raise InputError(
                f"sessions take {self._used / GIB:.1f} of {self.most_bytes / GIB:.1f} GiB: delete some of them, or "
                "start the studio with a larger --most-gib"
            )

    @property
    def _used(self) -> int:
        return sum(place.n_bytes for place in self)


def _is_kept(folder: Path) -> bool:
    return (folder / ABOUT).is_file()


def safe_name(name: str) -> str:
    """Return a name for a file that is like one given by a person, without folders or unusual characters."""
    plain = _UNSAFE.sub("-", name.replace("\\", "/").rsplit("/", 1)[-1]).strip(" ._-") or "file"
    path = Path(plain)
    return f"{path.stem[:_LONGEST_NAME]}{path.suffix[:10]}"
