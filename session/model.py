"""What a session holds, as its session.json: the video, tracks, and the takes of each."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from common.errors import InputError, check_choice, check_range, check_seed
from common.files import atomic_path

VERSION = 1
FILE = "session.json"
LARGEST_GAIN_DB = 40.0
LONGEST_S = 86_400.0
_LONGEST_TEXT = 10_000
ORIGINAL = "original-sound"
"""Name of the stem of the video's own sound; no track has it."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,40}")


@dataclass(frozen=True)
class Take:
    """A generated sound of a track.

    Args:
        number: Its number in the track, from 1.
        seed: Seed of its noise, or of that of its last region.
        origin: What it was made from: empty, or a take with a region or edits.
        onset_f1: Agreement of its onsets with the hits of its envelope, within 0.1 s, 0 to 1; None without hits.
        level_error_db: Mean difference of its level from the envelope, where that is audible.
        likeness: Cosine between its embedding and the prompt's; None without a prompt.
    """

    number: int
    seed: int
    origin: Mapping[str, Any] = field(default_factory=dict)
    onset_f1: float | None = None
    level_error_db: float = 0.0
    likeness: float | None = None

    @property
    def rank(self) -> tuple[float, float, float]:
        """What takes are sorted by, the best first: onsets, then likeness, then level."""
        return -(self.onset_f1 or 0.0), -(self.likeness or 0.0), self.level_error_db

    def check(self) -> None:
        """Refuse values that are not possible.

        Raises:
            InputError: The error names the value.
        """
        check_range("number", self.number, 1, 10**9, whole=True)
        check_seed(self.seed, "seed")
        for key, least, most in (("onset_f1", 0, 1), ("level_error_db", 0, 1000), ("likeness", -1.01, 1.01)):
            if getattr(self, key) is not None:
                check_range(key, getattr(self, key), least, most)
        if not isinstance(self.origin, Mapping):
            raise InputError("origin is no table of values")
        for region in [self.origin["region_s"]] if "region_s" in self.origin else self.origin.get("regions_s", []):
            start_s, end_s = region
            check_range("region", start_s, 0, LONGEST_S)
            check_range("region", end_s, 0, LONGEST_S)


@dataclass(frozen=True)
class Track:
    """One of the sounds that are heard together.

    Args:
        name: Its name, letters, digits, `-` and `_`, which is part of file names.
        prompt: What it sounds like, in words.
        negative_prompt: What it does not sound like.
        audio_prompts: Sounds that it is like: files, or parts of them.
        gain_db: Its gain in the mix.
        pan: Its place, -1 (left) to 1 (right).
        muted: Whether it is left out of the mix.
        takes: Its takes.
        kept: Number of the take that is heard; None: there is none yet.
    """

    name: str
    prompt: str | None = None
    negative_prompt: str | None = None
    audio_prompts: tuple[str, ...] = ()
    gain_db: float = 0.0
    pan: float = 0.0
    muted: bool = False
    takes: tuple[Take, ...] = ()
    kept: int | None = None

    def check(self) -> None:
        """Refuse values that are not possible.

        Raises:
            InputError: The error names the value.
        """
        _check_text("name", self.name)
        if not _NAME.fullmatch(self.name) or self.name == ORIGINAL:
            raise InputError(f"the track {self.name!r} has no possible name: give letters, digits, - and _, at most 41")
        check_range("--gain", self.gain_db, -LARGEST_GAIN_DB, LARGEST_GAIN_DB)
        check_range("--pan", self.pan, -1, 1)
        for key in ("prompt", "negative_prompt"):
            if getattr(self, key) is not None:
                _check_text(key, getattr(self, key))
        for prompt in self.audio_prompts:
            _check_text("audio_prompts", prompt)
        check_choice("muted", self.muted, (True, False))
        for take in self.takes:
            take.check()
        numbers = [take.number for take in self.takes]
        if len(set(numbers)) < len(numbers) or self.kept not in (None, *numbers):
            raise InputError(f"the track {self.name} has two takes of one number, or keeps one that is not there")

    def take(self, number: int) -> Take:
        """Return a take.

        Raises:
            InputError: There is none of this number; those that exist are listed.
        """
        for take in self.takes:
            if take.number == number:
                return take
        there = ", ".join(str(take.number) for take in self.takes) or "none"
        raise InputError(f"the track {self.name} has no take {number}: the takes are {there}")


@dataclass(frozen=True)
class Session:
    """A session.

    Args:
        video: Path of the video.
        fingerprint: SHA-256 of the video.
        start_s: Start of the part of the video that gets sound.
        duration_s: Duration of this part.
        model: What generates: `checkpoint`, `video2rms`, `set`, `dtype`, as in `infer.py`, and fingerprints of models.
        settings: Changes to the settings of the sampler, as in `FoleyRequest`, and `control_strength`.
        tracks: Its tracks.
        headroom_db: Gain of the whole mix, at most 0, so that it fits full scale; None: not needed yet.
        original_gain_db: Gain of the original sound of the video in the mix; None: it is not heard.
    """

    video: str
    fingerprint: str
    start_s: float
    duration_s: float
    model: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    tracks: tuple[Track, ...] = ()
    headroom_db: float | None = None
    original_gain_db: float | None = None

    def check(self) -> None:
        """Refuse values that are not possible.

        Raises:
            InputError: The error names the value.
        """
        for key in ("video", "fingerprint"):
            _check_text(key, getattr(self, key))
        check_range("start_s", self.start_s, 0, LONGEST_S)
        check_range("duration_s", self.duration_s, 1e-3, LONGEST_S)
        for key in ("headroom_db", "original_gain_db"):
            if getattr(self, key) is not None:
                check_range(key, getattr(self, key), -200, LARGEST_GAIN_DB)
        for key in ("model", "settings"):
            if not isinstance(getattr(self, key), Mapping):
                raise InputError(f"{key} is no table of values")
        names = [track.name for track in self.tracks]
        if len(set(names)) < len(names):
            raise InputError("two tracks have one name")
        for track in self.tracks:
            track.check()

    def track(self, name: str | None) -> Track:
        """Return a track, or the only one if no name is given.

        Raises:
            InputError: There is no such track, or none is named and there are several.
        """
        found = [track for track in self.tracks if name in (None, track.name)]
        if len(found) == 1:
            return found[0]
        names = ", ".join(track.name for track in self.tracks)
        problem = f"there is no track {name!r}" if not found else "there are several tracks"
        raise InputError(f"{problem}: give --track with one of {names}")

    def changed(self, track: Track) -> Self:
        """Return the session with a track in place of the one of this name, or with one more."""
        track.check()
        if all(other.name != track.name for other in self.tracks):
            return replace(self, tracks=(*self.tracks, track))
        return replace(self, tracks=tuple(track if other.name == track.name else other for other in self.tracks))

    def write(self, folder: Path) -> None:
        """Write session.json, which appears as a whole.

        Raises:
            InputError: A value is not possible, or the folder cannot be written.
        """
        if self.original_gain_db is not None:
            check_range("--original", self.original_gain_db, -LARGEST_GAIN_DB, LARGEST_GAIN_DB)
        content = {"version": VERSION, **asdict(self)}
        with atomic_path(folder / FILE) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read session.json.

        Raises:
            InputError: There is none, or it is damaged or of a later version.
        """
        path = folder / FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{folder} is no session: give the folder of one, or make it with `new`") from None
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read ({error}): restore it, or make a new session") from None
        version = content.get("version") if isinstance(content, dict) else None
        if version != VERSION:
            raise InputError(f"{path} is of version {version}, and {VERSION} is known: use the program that wrote it")
        try:
            tracks = tuple(
                _made(Track, track, takes=lambda takes: tuple(_made(Take, take) for take in takes), audio_prompts=tuple)
                for track in content["tracks"]
            )
            session = cls(**{key: value for key, value in content.items() if key not in ("version", "tracks")})
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise InputError(f"{path} is damaged ({error}): restore it, or make a new session") from None
        session = replace(session, tracks=tracks)
        try:
            session.check()
        except (TypeError, AttributeError, ValueError) as error:
            raise InputError(f"{path} is damaged ({error}): restore it, or make a new session") from None
        missing = [key for key in ("checkpoint", "set", "dtype", "models") if key not in session.model]
        if missing:
            raise InputError(f"{path} is damaged (model lacks {missing[0]}): restore it, or make a new session")
        return session


def _made(kind: type, content: Mapping[str, Any], **convert: Callable[[Any], Any]) -> Any:
    """Return an object from its JSON, whose keys must be its fields."""
    unknown = content.keys() - {each.name for each in fields(kind)}
    if unknown:
        raise KeyError(", ".join(sorted(unknown)))
    return kind(**{key: convert[key](value) if key in convert else value for key, value in content.items()})


def _check_text(name: str, value: object) -> None:
    """Refuse what is no text, or too long a one."""
    try:
        if isinstance(value, str) and len(value.encode("utf-8")) <= _LONGEST_TEXT:
            return
    except UnicodeEncodeError:
        pass
    raise InputError(f"{name} is no possible text")
