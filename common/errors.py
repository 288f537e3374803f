"""The one kind of error that a user can cause, and how command lines report it and keyboard interrupts."""

import errno
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from numbers import Integral, Real

LARGEST_SEED = 2**32 - 1
"""Largest seed that every random generator accepts."""


class InputError(ValueError):
    """A user's mistake: one sentence that names the value, what was expected and the remedy."""


def check_range(name: str, value: object, least: float, most: float, *, whole: bool = False) -> None:
    """Refuse a value that is not a number in a range, before memory or time is spent on it.

    Args:
        name: Option or key of the value, for the error.
        value: The value.
        least: Smallest allowed value.
        most: Largest allowed value.
        whole: Whether it must be a whole number.

    Raises:
        InputError: The value is not such a number.
    """
    is_number = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
    if not (is_number and least <= value <= most):  # type: ignore[operator]
        kind = "whole number" if whole else "number"
        raise InputError(f"{name} {value} is not possible: give a {kind} from {least:,} to {most:,}")


def check_choice(name: str, value: object, known: Iterable[object]) -> None:
    """Refuse a value that is none of those that are known.

    Args:
        name: Option or key of the value, for the error.
        value: The value.
        known: What it may be.

    Raises:
        InputError: It is none of these.
    """
    choices = list(known)
    if value not in choices:
        raise InputError(f"{name} is {value!r}: give one of {', '.join(map(str, choices))}")


def check_seed(seed: int, name: str = "--seed") -> None:
    """Refuse a seed that is not a whole number of 32 bits, which every random generator accepts.

    Raises:
        InputError: The seed is not such a number.
    """
    check_range(name, seed, 0, LARGEST_SEED, whole=True)


def printable(text: object) -> str:
    """Return a text on one line; line breaks and unprintable characters become escapes, as in `repr`."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(text))


def end_on_interrupt() -> None:
    """Make a keyboard interrupt end the process at once with status 130, until `user_errors` takes over.

    Commands call this before their slow imports: an exception during these would show a traceback, or be lost in a
    library's own code.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # otherwise they are ignored, as under nohup
        signal.signal(signal.SIGINT, _end_interrupted)


def _end_interrupted(*_: object) -> None:
    os.write(2, b"interrupted\n")
    os._exit(130)


@contextmanager
def user_errors() -> Iterator[None]:
    """End a command line with one sentence instead of a traceback; use it as a decorator of `main`, or around its body.

    Raises:
        SystemExit: Status 2 after an `InputError`, whose sentence goes to stderr without a traceback, and where a path
            is longer than the system allows; status 130 after an interrupt from the keyboard. Every other exception
            passes through, since it is a fault of the program.
    """
    takes_over = signal.getsignal(signal.SIGINT) is _end_interrupted
    try:
        if takes_over:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
    except InputError as error:
        sentence = str(error).rsplit("InputError: ", 1)[-1].strip()  # worker processes prepend their traceback
        sys.stderr.write(f"error: {printable(sentence)}\n")
        raise SystemExit(2) from None
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        sys.stderr.write(f"error: {printable(error.filename)}: the file name is too long; give a shorter one\n")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        raise SystemExit(130) from None
    finally:
        if takes_over:
            signal.signal(signal.SIGINT, _end_interrupted)  # while the process ends
