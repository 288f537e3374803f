"""Writing files so that a reader never meets half of one."""

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
