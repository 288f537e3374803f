"""The one kind of error a user can cause, and how a command line shows it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """A user's mistake: one sentence that names the value, what was expected and the remedy."""


@contextmanager
def user_errors() -> Iterator[None]:
    """Ends a command line cleanly; stands above `main` as a decorator, or around its body.

    Raises:
        SystemExit: Status 2 after an `InputError`, whose sentence goes to stderr without a traceback; status 130 after
            an interrupt from the keyboard. Every other exception passes through, since it is a fault of the program.
    """
    try:
        yield
    except InputError as error:
        sentence = str(error).rsplit("InputError: ", 1)[-1].strip()  # a process that reads puts its traceback before
        shown = "".join(c if c.isprintable() else " " for c in sentence)  # a file's names could steer the terminal
        sys.stderr.write(f"error: {shown}\n")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        raise SystemExit(130) from None
