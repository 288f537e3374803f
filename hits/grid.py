"""Grids of tempo and lists of times towards which hits are moved: ``120bpm/16,offset=0.05,strength=0.8``."""

import re
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from common.errors import InputError, check_range

SLOWEST_BPM, FASTEST_BPM = 10.0, 1000.0
LAST_TIME_S = 24 * 3600
_TEMPO = re.compile(r"(\d+(?:\.\d+)?)bpm/(\d{1,3})")
_HOW = "give a tempo and the notes in a bar of four, such as 120bpm/16,offset=0.05,strength=0.8, or times in seconds"


@dataclass(frozen=True)
class Grid:
    """Times towards which hits are moved.

    Args:
        step_s: Seconds between two lines of an endless grid; None: there are only `times_s`.
        times_s: Given times, of which each takes one hit, so that the moves are as short as possible together.
        offset_s: Time of one line of the grid, or what is added to the given times.
        strength: Share of the way to the line that a hit is moved, 0 to 1.
    """

    step_s: float | None = None
    times_s: tuple[float, ...] = ()
    offset_s: float = 0.0
    strength: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the grid that a text describes.

        Args:
            text: Tempo in quarter notes a minute and notes in a bar of four, as in ``120bpm/16`` (sixteenths) and
                ``120bpm/12`` (triplets of eighths), or times in seconds, as in ``0.5,1,1.7``; then any of
                ``offset=SECONDS`` and ``strength=SHARE``.

        Raises:
            InputError: It is no such text, or a value is outside its range.
        """
        words = [word.strip() for word in text.split(",")]
        values: dict[str, Any] = dict(_setting(text, word) for word in words if "=" in word)
        places = [word for word in words if "=" not in word]
        tempo = _TEMPO.fullmatch(places[0]) if len(places) == 1 else None
        if tempo is None:
            return cls(times_s=tuple(sorted(_time_s(text, word) for word in places)), **values)
        check_range(f"--quantise {text}: a tempo of", float(tempo[1]), SLOWEST_BPM, FASTEST_BPM)
        check_range(f"--quantise {text}: notes in a bar of", int(tempo[2]), 1, 128, whole=True)
        return cls(step_s=240 / float(tempo[1]) / int(tempo[2]), **values)

    def applied(self, hits_s: np.ndarray, duration_s: float) -> np.ndarray:
        """Return the times (K,) of hits after they were moved; a hit whose line is outside 0 to the duration stays.

        Raises:
            InputError: A given time is outside the duration.
        """
        targets_s = hits_s.copy()
        if self.step_s is not None:
            lines = np.round((hits_s - self.offset_s) / self.step_s)
            lines_s = self.offset_s + lines * self.step_s
            targets_s = np.where((lines_s < 0) | (lines_s > duration_s), hits_s, lines_s)
        else:
            from scipy.optimize import linear_sum_assignment  # slow to import

            given_s = np.array(self.times_s) + self.offset_s
            for time_s in given_s.tolist():
                check_range("--quantise to a time of", time_s, 0, duration_s)
            times, hits = linear_sum_assignment(np.abs(given_s[:, None] - hits_s[None]))
            targets_s[hits] = given_s[times]
        moved: np.ndarray = hits_s + self.strength * (targets_s - hits_s)
        return moved


def _setting(text: str, word: str) -> tuple[str, float]:
    """Return the argument of `Grid` that a word such as ``strength=0.5`` gives."""
    key, _, value = word.partition("=")
    ranges = {"offset": ("offset_s", -LAST_TIME_S, LAST_TIME_S), "strength": ("strength", 0, 1)}
    if key not in ranges:
        raise InputError(f"--quantise {text} has {word!r}: {_HOW}")
    name, least, most = ranges[key]
    number = _number(text, value)
    check_range(f"--quantise {text}: {key}", number, least, most)
    return name, number


def _time_s(text: str, word: str) -> float:
    time_s = _number(text, word)
    check_range(f"--quantise {text}: a time of", time_s, 0, LAST_TIME_S)
    return time_s


def _number(text: str, word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise InputError(f"--quantise {text} has {word!r}: {_HOW}") from None
