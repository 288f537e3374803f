"""The one kind of error a user can cause, and how a command line shows it and an interrupt from the keyboard."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral, Real

LARGEST_SEED = 2**32 - 1
"""What every source of random numbers takes."""


class InputError(ValueError):
    """A user's mistake: one sentence that names the value, what was expected and the remedy."""


def check_range(name: str, value: object, least: float, most: float, *, whole: bool = False) -> None:
    """Refuse a value that is no number in a range, before memory or time is taken for it.

    Args:
        name: Its option or key, for the error.
        value: The value.
        least: The smallest that is allowed.
        most: The largest that is allowed.
        whole: Whether it must be a whole number.

    Raises:
        InputError: Naming the value and the range.
    """
    is_number = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
    if not (is_number and least <= value <= most):  # type: ignore[operator]
        kind = "whole number" if whole else "number"
        raise InputError(f"{name} {value} is not possible: give a {kind} from {least:,} to {most:,}")


def check_seed(seed: int, name: str = "--seed") -> None:
    """Refuse a seed that is no whole number of 32 bits, which every generator takes.

    Raises:
        InputError: Naming the value.
    """
    check_range(name, seed, 0, LARGEST_SEED, whole=True)


def printable(text: object) -> str:
    """Return a text on one line: line breaks and other characters that cannot be shown as escapes, as in `repr`."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(text))


def end_on_interrupt() -> None:
    """Have an interrupt from the keyboard end the process at once, with status 130, until `user_errors` takes over.

    Commands call this before their imports, which take seconds: an exception there would show as a traceback, or be
    lost in a library's own code.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else interrupts are ignored, as by nohup
        signal.signal(signal.SIGINT, _end_interrupted)


def _end_interrupted(*_: object) -> None:
    os.write(2, b"interrupted\n")
    os._exit(130)


@contextmanager
def user_errors() -> Iterator[None]:
    """End a command line cleanly; stands above `main` as a decorator, or around its body.

    Raises:
        SystemExit: Status 2 after an `InputError`, whose sentence goes to stderr without a traceback; status 130 after
            an interrupt from the keyboard. Every other exception passes through, since it is a fault of the program.
    """
    try:
        if signal.getsignal(signal.SIGINT) is _end_interrupted:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
    except InputError as error:
        sentence = str(error).rsplit("InputError: ", 1)[-1].strip()  # a process that reads puts its traceback before
        sys.stderr.write(f"error: {printable(sentence)}\n")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        raise SystemExit(130) from None
