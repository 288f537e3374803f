"""A sound track of a file and a part of it, as users name it: ``FILE#track=2,from=1.5,to=3``."""

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from common.errors import InputError
from common.files import is_web_address
from media.clip import count_at_rate
from media.container import end_in_file_s, need_sound, opened, video_stream
from media.reading import read_sound

END_TOLERANCE_S = 0.1
"""How far `to` may lie after the end of a file: players and editors round durations."""
_KEYS = {"track": "track", "from": "from_s", "to": "to_s"}
_HOW = "give FILE#track=N,from=SECONDS,to=SECONDS, or some of these"
_NUMBER = re.compile(r"[0-9]+\.?[0-9]*([eE][+-]?[0-9]+)?|\.[0-9]+([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class SoundPart:
    """A sound track of a file, or a part of it.

    Args:
        path: The file, or the folder of a processed clip.
        track: Number of the sound track, from 1; tracks without a decoder do not count.
        from_s: Start in the time of the file, at least 0; None: not given.
        to_s: End in the time of the file, after the start; None: not given.

    Raises:
        InputError: A number is outside its range.
    """

    path: Path
    track: int = 1
    from_s: float | None = None
    to_s: float | None = None

    def __post_init__(self) -> None:
        if self.track < 1:
            raise InputError(f"{self} has the track {self.track}: give a number from 1")
        for key, time_s in (("from", self.from_s), ("to", self.to_s)):
            if time_s is not None and not 0 <= time_s < math.inf:
                raise InputError(f"{self} has {key}={time_s}: give seconds from 0")
        if self.to_s is not None and self.to_s <= (self.from_s or 0):
            raise InputError(f"{self} ends at {self.to_s:g} s, which is not after its start: give a later `to`")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the part that a text names, whose file may be missing.

        Args:
            text: A path, or a path and some of the keys ``track``, ``from`` and ``to`` in any order, as in
                ``FILE#track=2,from=1.5,to=3``. The name of an existing file or folder is taken as it is, and so is a
                web address.

        Raises:
            InputError: What follows the last ``#`` is no such part.
        """
        name, _, options = text.rpartition("#")
        if not name or _exists(text) or is_web_address(text) or not _names_a_part(name, options):
            return cls(Path(text))
        return cls(Path(name), **_values(text, options))

    @classmethod
    def of(cls, given: "str | Path | SoundPart") -> "SoundPart":
        """Return a part as it is, and the part that a text or path names.

        Raises:
            InputError: As in `parse`.
        """
        return given if isinstance(given, SoundPart) else cls.parse(str(given))

    def resolved(self) -> Self:
        """Return the part with a path that holds in any folder."""
        return replace(self, path=self.path.resolve())

    def __str__(self) -> str:
        """Return the text from which `parse` makes this part."""
        track = self.track if self.track != 1 or "#" in str(self.path) else None
        values = {"track": track, "from": self.from_s, "to": self.to_s}
        options = ",".join(f"{key}={_short(value)}" for key, value in values.items() if value is not None)
        return f"{self.path}#{options}" if options else str(self.path)


def _exists(path: str) -> bool:
    """Return whether a file or folder is there; a name that no file can have is not."""
    try:
        return Path(path).exists()
    except OSError:  # too long, or in a folder that may not be read
        return False


def _names_a_part(name: str, options: str) -> bool:
    """Return whether what follows a # is meant as a part, rather than as the end of the name of a missing file."""
    if "=" in options:
        return re.search(r"[/\\]", options) is None  # otherwise the # is in the name of a folder
    return _exists(name)


def _short(value: float) -> str:
    """Return the shortest text of a number that is read as the same number."""
    return repr(value).removesuffix(".0")


def _values(text: str, options: str) -> dict[str, Any]:
    """Return the arguments of `SoundPart` from what follows the `#` of a text."""
    values: dict[str, Any] = {}
    for option in options.split(","):
        key, equals, value = (word.strip() for word in option.partition("="))
        if not equals or key not in _KEYS:
            raise InputError(f"{text} has {option!r} after the #: {_HOW}")
        if _KEYS[key] in values:
            raise InputError(f"{text} has {key!r} twice: give it once")
        if key == "track" and not re.fullmatch("[0-9]{1,9}", value):
            raise InputError(f"{text} has {option!r}: give a whole number from 1")
        if key != "track" and not _NUMBER.fullmatch(value):
            raise InputError(f"{text} has {option!r}: give seconds from 0, for instance {key}=1.5")
        values[_KEYS[key]] = int(value) if key == "track" else float(value)
    return values


def sound_end_s(part: SoundPart) -> float:
    """Return the time at which a part of a file ends: its `to_s`, or the end of its track if that comes first.

    Raises:
        InputError: The file holds no readable sound, has no such track, or the part is outside it.
    """
    with opened(part.path) as container:
        stream = need_sound(container, part.track)
        end_s = end_in_file_s(container, stream)
        video = video_stream(container)
        file_end_s = end_s if video is None else max(end_s, end_in_file_s(container, video))
    if end_s <= 0:
        raise InputError(f"{part.path} holds no sound: give a file with sound")
    if part.from_s is not None and part.from_s >= end_s:
        raise InputError(f"{part} starts after the end of the sound: give a `from` below {end_s:.3f}")
    if part.to_s is not None and part.to_s > file_end_s + END_TOLERANCE_S:
        raise InputError(f"{part} ends after the end of the file: give a `to` of at most {file_end_s:.2f}")
    return end_s if part.to_s is None else min(part.to_s, end_s)


def read_part(part: SoundPart, *, sample_rate_hz: int, n_channels: int = 2, at_most_s: float = math.inf) -> Tensor:
    """Read a part of a sound.

    Args:
        part: The part; without a start it begins with the file.
        sample_rate_hz: Samples per second of the result, above 0.
        n_channels: Channels of the result, 1 or 2, see `read_sound`.
        at_most_s: Most seconds to read, above 0; more are neither decoded nor returned.

    Returns:
        Sound (C, N), float32, full scale ±1, that ends with its track.

    Raises:
        InputError: As in `read_sound`.
    """
    start_s = part.from_s or 0.0
    duration_s = min(at_most_s, math.inf if part.to_s is None else part.to_s - start_s)
    return read_sound(
        part.path,
        sample_rate_hz=sample_rate_hz,
        n_channels=n_channels,
        start_s=start_s,
        duration_s=None if duration_s == math.inf else duration_s,
        track=part.track,
        fills=False,
    )


def read_part_for(part: SoundPart, duration_s: float, *, sample_rate_hz: int) -> Tensor:
    """Read a part of a sound (2, N) for a duration: what is longer is left out, and silence follows what is shorter.

    Raises:
        InputError: As in `read_sound`.
    """
    n_samples = count_at_rate(duration_s, sample_rate_hz)
    start_s = part.from_s or 0.0
    read_s = duration_s if part.to_s is None else min(duration_s, part.to_s - start_s)
    sound = read_sound(part.path, sample_rate_hz=sample_rate_hz, start_s=start_s, duration_s=read_s, track=part.track)
    return torch.nn.functional.pad(sound, (0, n_samples - sound.shape[1]))


def within(part: SoundPart, path: Path, start_s: float) -> SoundPart:
    """Return a part with another path (of the sound in a folder), and a start if it has none.

    Raises:
        InputError: The part ends before that start.
    """
    if part.from_s is None and part.to_s is not None and part.to_s <= start_s:
        raise InputError(f"{part} ends before {start_s:g} s, where the sound is read from: give `from` too")
    return replace(part, path=path, from_s=start_s if part.from_s is None else part.from_s)
