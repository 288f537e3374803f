"""Owns what a training refuses before it builds anything: names of runs, and configurations that cannot be meant."""

import contextlib
import errno
import math
import re
from collections.abc import Iterator
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from common.errors import LARGEST_SEED, InputError
from common.files import NO_ROOM
from training.arguments import check_arguments

MAX_NAME_BYTES = 200
"""Longest name of a run, below the 255 bytes that file systems allow."""
_NAME = re.compile(r"[\w+=,@]([\w+=,@. -]*[\w+=,@.-])?")
_NOT_FINITE = re.compile(r"[+-]?\.(nan|inf)", re.IGNORECASE)
"""What YAML reads as a number and Hydra's command line as a word."""

_NOT_WRITABLE = (*NO_ROOM, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


def checked_run_name(tag: Any) -> str:
    """Return the name of a run if it can name a single folder below ``paths.runs``.

    Raises:
        InputError: it is empty or too long, begins with a dot, a dash or a space, or has other characters than letters,
            digits, spaces and ``. _ - + = , @``.
    """
    name = "" if tag is None else str(tag)
    if not _NAME.fullmatch(name) or len(name.encode()) > MAX_NAME_BYTES:
        raise InputError(
            f"TAG {name!r} cannot name the folder of a run; expected letters, digits, spaces and . _ - + = , @ without "
            f"a dot or dash at the beginning, at most {MAX_NAME_BYTES} bytes: give another with TAG=NAME."
        )
    return name


OmegaConf.register_new_resolver("run_name", checked_run_name, replace=True)


@contextlib.contextmanager
def one_sentence() -> Iterator[None]:
    """Turn what Hydra says about a wrong configuration, and files that cannot be written, into one sentence.

    Raises:
        InputError: a key, a group or a reference is not there, a value does not fit, or a disk is full or closed to us.
    """
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, InputError):  # of a resolver
                raise cause from None
            cause = cause.__cause__ or cause.__context__
        reason = " ".join(str(error).split("Config search path")[0].split("full_key:")[0].split())
        key = getattr(error, "full_key", None)
        where = f" at {key}" if key else ""
        raise InputError(
            f"the configuration cannot be composed ({reason}{where}); expected KEY=VALUE of what "
            "python train.py --cfg job shows."
        ) from error
    except OSError as error:  # of Hydra and of loggers; what this project writes has its own sentence
        if error.errno not in _NOT_WRITABLE:
            raise
        raise InputError(
            f"{error.filename or 'a file of the run'} cannot be written ({error.strerror}); make room, or give another "
            "folder with paths.runs=FOLDER."
        ) from error


def check_values(config: DictConfig) -> None:
    """Refuse a configuration with a reference to nothing, or with a value that cannot be meant.

    Numbers have to be finite, seeds have to fit torch and numpy, and what is built by ``_target_`` has to get arguments
    of its types.

    Raises:
        InputError: naming the key.
    """
    with one_sentence():
        values = OmegaConf.to_container(config, resolve=True)
    for key, value in _leaves(values, ""):
        infinite = isinstance(value, float) and not math.isfinite(value)
        if infinite or (isinstance(value, str) and _NOT_FINITE.fullmatch(value)):
            raise InputError(f"{key} is {value}; expected a finite number: give {key}=NUMBER.")
        is_seed = key.rpartition(".")[2] == "seed"
        if is_seed and not (isinstance(value, int) and 0 <= value <= LARGEST_SEED):
            raise InputError(f"{key} is {value}; expected a whole number from 0 to {LARGEST_SEED}: give {key}=NUMBER.")
    check_arguments(values)


def _leaves(part: Any, key: str) -> Iterator[tuple[str, Any]]:
    """All values of a nested configuration with their keys, as the command line names them."""
    if isinstance(part, dict | list):
        for name, inner in part.items() if isinstance(part, dict) else enumerate(part):
            yield from _leaves(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, part
