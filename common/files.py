"""Atomic writing of files and folders, locks, and checks that a file can be read or written."""

import errno
import functools
import hashlib
import os
import platform
import re
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from filelock import FileLock, Timeout

from common.errors import InputError

PARTIAL = ".partial-"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):[/\\]+(.+)")  # a path makes one slash of two
_ABANDONED_S = 24 * 3600  # a writer that is alive changes its file more often


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary file to write, which replaces `path` only after the block has succeeded.

    The temporary file is beside `path` and has the same suffix, by which media writers choose the format. It is removed
    if the block fails or is interrupted; a file already at `path` then stays unchanged. Data are flushed to the disk
    before the replacement, so that after a power cut the old or the new file is there. The first file that a process
    writes in a folder also removes the temporary files of killed writers there.

    Args:
        path: The file to write. Missing parent folders are created.

    Yields:
        The (empty) temporary file.

    Raises:
        InputError: `path` is a folder, or its folder cannot be created or written, or the disk is full.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a file to write: give a file name inside it")
    temporary = _beside(path, path.suffix)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent.absolute())
        temporary.touch()
        mode = temporary.stat().st_mode
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path.parent} cannot be written ({reason}): give an output in a writable folder") from error
    try:
        yield temporary
        temporary.chmod(mode)  # some writers replace the file by one that only its owner can read
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise InputError(f"{path} cannot be written ({error.strerror}): make room, or give another output") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_files(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder for files that belong together; they move to `folder` after the block has succeeded.

    Each replaces a file of the same name. If the block fails or is interrupted, none of them appears.

    Args:
        folder: Destination of the files. Missing folders are created.

    Yields:
        The (empty) temporary folder, in which files are written by `atomic_path`.

    Raises:
        InputError: The folder cannot be created or written.
    """
    temporary = _beside(folder / "files")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder.absolute())
        temporary.mkdir()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{folder} cannot be written ({reason}): give a writable folder") from error
    try:
        yield temporary
        for path in sorted(temporary.iterdir()):
            path.replace(folder / path.name)
        _sync_folder(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _beside(path: Path, suffix: str = "") -> Path:
    """Return a new name beside a path that identifies the process that writes there."""
    return path.with_name(f"{PARTIAL}{_machine()}-{os.getpid()}-{token_hex(8)}{suffix}")


@functools.cache
def _machine() -> str:
    """Return a name of the machine since its start, or of a container on it: process numbers are unique there."""
    names = [platform.node()]  # may be equal on two machines that share a folder
    with suppress(OSError):  # only Linux has these
        names.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
        names.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256(" ".join(names).encode()).hexdigest()[:8]


@functools.cache
def _remove_abandoned(folder: Path) -> None:
    """As `remove_abandoned`, once per folder and process."""
    remove_abandoned(folder)


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files and folders in a folder whose writers are gone; others may be at work there.

    Of writers on other machines only the time of the last change is known: a recent change means that they are alive.
    """
    for path in folder.glob(f"{PARTIAL}*"):
        machine, _, rest = path.name.removeprefix(PARTIAL).partition("-")
        number = rest.partition("-")[0]
        with suppress(OSError):  # another process may have removed it, or removal may not be allowed
            if machine == _machine() and number.isdecimal():
                is_abandoned = not _is_alive(int(number))
            else:
                is_abandoned = path.is_file() and time.time() - path.stat().st_mtime > _ABANDONED_S
            if is_abandoned:
                _remove(path)


def _is_alive(process_id: int) -> bool:
    """Return whether a process of this machine exists, whoever owns it; unknown counts as alive."""
    if os.name == "nt":  # os.kill would end the process there
        return True
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _sync_folder(folder: Path) -> None:
    """Flush a new name in a folder to the disk, where the system supports it."""
    with suppress(OSError):  # Windows cannot open folders, and some network folders cannot be flushed
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill, which replaces `path` only after the block has succeeded.

    The temporary folder is beside `path`. It is removed if the block fails or is interrupted; a folder already at
    `path` then stays unchanged. If a process is killed, `remove_partial` removes what it left; if it is killed while
    replacing a folder, neither the old nor the new folder may be at `path`.

    Args:
        path: The folder to write. An existing one is replaced; missing parent folders are created.

    Yields:
        The (empty) temporary folder.

    Raises:
        InputError: `path` is a file.
        OSError: The folder cannot be created or moved.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file, expected a folder to write: move it away")
    temporary, replaced = _beside(path), _beside(path)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            path.rename(replaced)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if replaced.exists() and not path.exists():
            replaced.rename(path)
        shutil.rmtree(replaced, ignore_errors=True)


class LockedError(InputError):
    """Another process holds a lock."""


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock file while the block runs; the lock of a killed process is ignored.

    Args:
        path: The lock file, in the folder that it protects. Missing folders are created, and removed if they are empty
            afterwards.
        wait: Whether to wait for another process that holds the lock.

    Raises:
        LockedError: Another process holds the lock, unless `wait`.
        InputError: The folder cannot be written.
    """
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path, timeout=-1 if wait else 0):
            try:
                yield
            finally:
                with suppress(PermissionError):  # on Windows the file is open, and FileLock removes it
                    path.unlink(missing_ok=True)
    except Timeout as error:
        raise LockedError(f"another run works in {path.parent}: wait for it, or give another folder") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path.parent} cannot be written ({reason}): give a writable folder") from error
    finally:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()


def remove_free_locks(folder: Path) -> None:
    """Remove the locks that killed jobs left in a folder, ``.lock-…``; those that are held stay."""
    for left in folder.glob(".lock-*"):
        with suppress(InputError), locked(left):
            pass


@contextmanager
def only_run_in(folder: Path, *others: Path) -> Iterator[None]:
    """Keep other runs out of a folder, and remove what a stopped run left in it and in `others`.

    Raises:
        InputError: Another run works there, or the folder cannot be written.
    """
    with locked(folder / ".lock"):
        try:
            for each in (folder, *others):
                remove_partial(each)
            yield
        finally:
            for each in (folder, *others):
                remove_partial(each)


def remove_partial(folder: Path) -> int:
    """Remove what killed writers of `atomic_path` and `atomic_folder` left in a folder; no writer may be at work there.

    Returns:
        Number of files and folders removed.
    """
    left = list(folder.glob(f"{PARTIAL}*"))
    for path in left:
        _remove(path)
    return len(left)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def check_writable_folder(folder: Path, option: str) -> None:
    """Refuse, before any work, an output folder that cannot be written or created.

    Args:
        folder: the folder, existing or not.
        option: the option that names it, for the error.

    Raises:
        InputError: the folder cannot be written or created.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InputError(f"{option} {folder} cannot be written: give a writable folder")


def same_file(a: Path, b: Path) -> bool:
    """Return whether two paths lead to the same existing file."""
    return a.exists() and b.exists() and a.samefile(b)


def is_web_address(path: str | Path) -> bool:
    """Return whether a text or path is the address of something on the web.

    A `Path` writes https://example.org as https:/example.org, which is recognised too. A drive letter is no address.
    """
    return _ADDRESS.fullmatch(str(path)) is not None


def check_no_address(path: str | Path) -> None:
    """Refuse a web address in place of a file, and say how to download it.

    Raises:
        InputError: it is one.
    """
    if match := _ADDRESS.fullmatch(str(path)):
        address = f"{match[1]}://{match[2]}"
        raise InputError(
            f"{address} is a web address, expected a file: download it first, with yt-dlp {shlex.quote(address)} for a "
            f"page, or with a browser or curl -LO {shlex.quote(address)} for a direct link to a file"
        )


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as hexadecimal digits; the file is read in parts."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_readable(path: Path) -> None:
    """Refuse a file that does not exist or cannot be opened.

    Raises:
        InputError: the file cannot be read.
    """
    check_no_address(path)
    try:
        if path.is_file():
            with path.open("rb"):
                return
        problem = "is a folder" if path.is_dir() else "does not exist"
    except OSError as error:
        problem = f"cannot be opened ({error.strerror})"
    raise InputError(f"{path} {problem}; expected a readable file: check the path.")


def damaged(path: Path, kind: str, error: Exception) -> InputError:
    """Return the error for a file that its reader refused, with the reader's reason."""
    text = str(error).rsplit("WeightsUnpickler error:", 1)[-1].strip()  # torch puts advice before the cause
    reason = text.splitlines()[0] if text else type(error).__name__
    return InputError(
        f"{path} cannot be read as {kind} ({reason}); it may be cut short or damaged: copy it again, or give another."
    )
