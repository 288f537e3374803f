"""Owns the check that the values of a configuration have the types that the parts it names were written for."""

import inspect
import re
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Union

import hydra

from common.errors import InputError

_PLAIN: dict[Any, tuple[type, ...]] = {
    bool: (bool,),
    int: (int,),
    float: (int, float),
    str: (str, int, float),
    Path: (str, int, float),
    type(None): (type(None),),
}
"""What a configuration writes for an argument of a type; true and false stand for no number."""


def check_arguments(part: Any, key: str = "") -> None:
    """Refuse values of another type than the arguments they are for, anywhere in a nested configuration.

    Args:
        part: resolved configuration; types are those of the signatures that ``_target_`` names.
        key: of the part in the whole.

    Raises:
        InputError: naming the key of the first such value.
    """
    if isinstance(part, dict) and "_target_" in part:
        hints = dict(_hints(part["_target_"]))
        for name, value in part.items():
            if name in hints and not fits(value, hints[name]):
                where = f"{key}.{name}" if key else name
                raise InputError(
                    f"{where} is {value!r}; expected {_words(hints[name])}: give {where}=VALUE of that kind."
                )
    for name, inner in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
        check_arguments(inner, f"{key}.{name}" if key else str(name))


def _hints(target: str) -> Iterator[tuple[str, Any]]:
    """Names and types of the arguments of what a configuration names, those of its base classes first."""
    try:
        found = hydra.utils.get_object(str(target))
    except (ImportError, ValueError):  # building it says why
        return
    for callable_ in reversed(found.__mro__) if inspect.isclass(found) else (found,):
        try:
            yield from typing.get_type_hints(callable_.__init__ if inspect.isclass(callable_) else callable_).items()
        except (NameError, TypeError):  # a library that cannot say what it takes
            continue


def fits(value: Any, hint: Any) -> bool:
    """Whether a value of a configuration can be an argument of a type; nested parts are taken for any class."""
    kind, inside = typing.get_origin(hint), typing.get_args(hint)
    if hint in _PLAIN:
        return isinstance(value, _PLAIN[hint]) and (hint is bool or not isinstance(value, bool))
    if kind in (Union, types.UnionType):
        return any(fits(value, one) for one in inside)
    if kind is Literal:
        return value in inside
    if kind is tuple and Ellipsis not in inside:
        return isinstance(value, list) and len(value) == len(inside) and all(map(fits, value, inside))
    if kind in (list, tuple, Sequence):
        return isinstance(value, list) and all(fits(one, inside[0]) for one in value)
    return hint is Any or isinstance(value, dict)


def _words(hint: Any) -> str:
    return hint.__name__ if inspect.isclass(hint) else re.sub(r"\b(\w+\.)+", "", str(hint))
