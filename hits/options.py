"""Edits as options of a command line, applied in their order: ``--move 1.7 1.85 --scale 2.49 +6dB``."""

import argparse
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from common.errors import InputError
from hits.edit import HitEnvelope
from hits.grid import Grid

Edit = Callable[[HitEnvelope], HitEnvelope]
ALL = "all"
"""Word that stands for all hits in `--scale`."""
_NEGATIVE = re.compile(r"-(\d+|\d*\.\d+)(dB)?", re.IGNORECASE)


class _Append(argparse.Action):
    """Appends an edit to the list of all edits, whichever option it comes from."""

    def __init__(self, *args: Any, edit: Callable[..., Edit], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._edit = edit

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        words = [values] if isinstance(values, str) else values
        namespace.edits = [*getattr(namespace, "edits", []), self._edit(*words)]


def add_edits(parser: argparse.ArgumentParser) -> None:
    """Add the options for edits, which parse to `edits`, functions in the order in which they were given.

    Raises:
        InputError: When options are parsed, if a value is not possible.
    """
    parser._negative_number_matcher = re.compile(f"^(?:{_NEGATIVE.pattern})$", re.IGNORECASE)  # -6dB is no option
    parser.set_defaults(edits=[])

    def add(name: str, edit: Callable[..., Edit], metavar: str | tuple[str, ...], help: str, nargs: Any = None) -> None:
        parser.add_argument(
            name, action=_Append, edit=edit, dest="edits", nargs=nargs, metavar=metavar, default=[], help=help
        )

    add("--move", partial(_to, HitEnvelope.move, "--move"), ("TIME", "TO"), "move a hit, with its shape", 2)
    add("--scale", _scale, ("TIME", "GAIN"), f"make a hit, or {ALL}, louder: +6dB, -3dB, or a factor such as 0.5", 2)
    add("--level", partial(_to, HitEnvelope.set_level, "--level"), ("TIME", "LEVEL"), "give a hit another level", 2)
    add(
        "--decay",
        partial(_to, HitEnvelope.set_decay, "--decay"),
        ("TIME", "SECONDS"),
        "give a hit another decay; it becomes a sudden start and an exponential",
        2,
    )
    add("--mute", partial(_at, HitEnvelope.mute, "--mute"), "TIME", "silence a hit; it stays in the table, at level 0")
    add("--delete", partial(_at, HitEnvelope.delete, "--delete"), "TIME", "remove a hit; what else sounds there stays")
    add("--add", _add, "VALUE", "add a hit: time, level and, if wanted, decay (default: the median of the others)", "+")
    add("--shift", partial(_at, HitEnvelope.shift, "--shift"), "SECONDS", "move all hits")
    add(
        "--quantise",
        _quantise,
        "GRID",
        "move hits to a grid, 120bpm/16,offset=0.05,strength=0.8 (sixteenths; 12: triplets), or to times, 0.5,1,1.7",
    )


def _to(edit: Callable[[HitEnvelope, float, float], HitEnvelope], option: str, time: str, value: str) -> Edit:
    time_s, new = _number(option, time), _number(option, value)
    return lambda hits: edit(hits, time_s, new)


def _scale(time: str, gain: str) -> Edit:
    time_s = None if time == ALL else _number("--scale", time)
    factor = _factor(gain)
    return lambda hits: hits.scale(time_s, factor)


def _at(edit: Callable[[HitEnvelope, float], HitEnvelope], option: str, time: str) -> Edit:
    time_s = _number(option, time)
    return lambda hits: edit(hits, time_s)


def _add(*words: str) -> Edit:
    if len(words) not in (2, 3):
        raise InputError(f"--add {' '.join(words)} has {len(words)} values: give time, level and, if wanted, decay")
    time_s, level, *decay_s = (_number("--add", word) for word in words)
    return lambda hits: hits.add(time_s, level, *decay_s)


def _quantise(text: str) -> Edit:
    grid = Grid.parse(text)
    return lambda hits: hits.quantise(grid)


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{option} has {text!r}: give a number") from None


def _factor(text: str) -> float:
    """Return the factor that a gain in dB, or a factor, stands for."""
    number = text[:-2] if text.lower().endswith("db") else None
    return _number("--scale", text) if number is None else 10 ** (_number("--scale", number) / 20)


def applied(hits: HitEnvelope, edits: Sequence[Edit]) -> HitEnvelope:
    """Return hits after edits, applied in order.

    Raises:
        InputError: An edit names no hit, or a value is outside its range.
    """
    for edit in edits:
        hits = edit(hits)
    return hits
