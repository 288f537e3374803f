"""Files as a whole: written so that a reader never meets half of one, and a sentence for those that cannot be read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from data.errors import InputError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Gives a temporary file to write, which takes the place of `path` only once the block has ended well.

    The temporary file lies beside `path` and has its suffix, by which writers of media choose the format. It is removed
    when the block fails or is interrupted; a file already at `path` then stays as it was.

    Args:
        path: The file to write. Missing parent folders are created.

    Yields:
        The (empty) temporary file.

    Raises:
        InputError: `path` is a folder, or its folder cannot be created or written.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a file to write: give a file name inside it")
    temporary = path.with_name(f".partial-{token_hex(8)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        mode = temporary.stat().st_mode
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path.parent} cannot be written ({reason}): give an output in a writable folder") from error
    try:
        yield temporary
        temporary.chmod(mode)  # some writers replace the file by one that its owner alone can read
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_readable(path: Path) -> None:
    """Refuse a file that is not there or cannot be opened.

    Raises:
        InputError: saying which.
    """
    try:
        if path.is_file():
            with path.open("rb"):
                return
        problem = "is a folder" if path.is_dir() else "does not exist"
    except OSError as error:
        problem = f"cannot be opened ({error.strerror})"
    raise InputError(f"{path} {problem}; expected a file that can be read: check the path.")


def damaged(path: Path, kind: str, error: Exception) -> InputError:
    """The error for a file that a reader of its kind refused, with the reader's reason."""
    text = str(error).rsplit("WeightsUnpickler error:", 1)[-1].strip()  # torch puts advice before the cause
    reason = text.splitlines()[0] if text else type(error).__name__
    return InputError(f"{path} cannot be read as {kind} ({reason}); it may be cut short or damaged: copy it again.")
