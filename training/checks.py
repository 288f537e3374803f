"""Owns what is refused before anything is built: names of runs, and values of a configuration that cannot be meant."""

import contextlib
import errno
import functools
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from common.errors import LARGEST_SEED, InputError
from common.files import NO_ROOM

REPOSITORY = Path(__file__).resolve().parent.parent
MAX_NAME_BYTES = 200
"""Longest name of a run, below the 255 bytes that file systems allow."""
_NAME = re.compile(r"[\w+=,@]([\w+=,@. -]*[\w+=,@.-])?")
_NOT_FINITE = re.compile(r"[+-]?\.(nan|inf)", re.IGNORECASE)
"""What YAML reads as a number and Hydra's command line as a word."""
_NOT_WRITABLE = (*NO_ROOM, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
_PLAIN: dict[Any, tuple[type, ...]] = {
    bool: (bool,),
    int: (int,),
    float: (int, float),
    str: (str,),
    Path: (str,),
    type(None): (type(None),),
}
"""What a configuration writes for an argument of a type; true and false stand for no number."""
SECTIONS = tuple(path.name for path in sorted((REPOSITORY / "configs").iterdir()) if path.is_dir())
"""Keys of a configuration that stand for a file each."""
_HYDRA_KEYS = {"_target_", "_partial_"}


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


def n_devices_of_job(devices: Any) -> int:
    """Return ``trainer.devices`` for a job, which asks for that many.

    Raises:
        InputError: it is no number above 0.
    """
    if isinstance(devices, bool) or not isinstance(devices, int) or devices < 1:
        raise InputError(f"trainer.devices is {devices}, but a job asks for a number of them: give trainer.devices=N.")
    return devices


OmegaConf.register_new_resolver("run_name", checked_run_name, replace=True)
OmegaConf.register_new_resolver("n_devices", n_devices_of_job, replace=True)


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
        values: Any = OmegaConf.to_container(config, resolve=True)
    for key in SECTIONS:
        if not isinstance(values.get(key, {}), dict):
            raise InputError(f"{key} is {values[key]!r}; expected a section: choose {key}=NAME from configs/{key}.")
    for key, value in _leaves(values, ""):
        infinite = isinstance(value, float) and not math.isfinite(value)
        if infinite or (isinstance(value, str) and _NOT_FINITE.fullmatch(value)):
            raise InputError(f"{key} is {value}; expected a finite number: give {key}=NUMBER.")
        is_seed = key.rpartition(".")[2] == "seed"
        if is_seed and not (isinstance(value, int) and 0 <= value <= LARGEST_SEED):
            raise InputError(f"{key} is {value}; expected a whole number from 0 to {LARGEST_SEED}: give {key}=NUMBER.")
    check_arguments(values)


def check_arguments(part: Any, key: str = "", given: Sequence[str] = ()) -> None:
    """Refuse values that the parts a nested configuration names cannot be called with.

    Args:
        part: resolved configuration; names and types are those of the signatures that ``_target_`` names.
        key: of the part in the whole.
        given: arguments of the part itself that come from elsewhere.

    Raises:
        InputError: naming the key of the first value that has no argument or one of another type, or of the first
            argument that has no value.
    """
    if isinstance(part, dict) and "_target_" in part:
        signature = _signature(str(part["_target_"]))
        if signature is not None:
            _check_call(part, key, signature, given)
    for name, inner in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
        check_arguments(inner, f"{key}.{name}" if key else str(name))


@dataclass(frozen=True)
class _Signature:
    """What a class or a function can be called with: types by name, names without a default, whether others too."""

    hints: Mapping[str, Any]
    required: frozenset[str]
    is_open: bool


def _check_call(part: Mapping[str, Any], key: str, signature: _Signature, given: Sequence[str]) -> None:
    for name, value in part.items():
        where = f"{key}.{name}" if key else name
        if name in _HYDRA_KEYS:
            continue
        if name not in signature.hints:
            if not signature.is_open:
                known = ", ".join(sorted(signature.hints))
                raise InputError(f"{where} is not known to {part['_target_']}; expected one of {known}: leave it out.")
        elif not fits(value, signature.hints[name]):
            expected = _words(signature.hints[name])
            raise InputError(f"{where} is {value!r}; expected {expected}: give {where}=VALUE of that kind.")
    missing = sorted(signature.required - {*part, *given})
    if missing and not part.get("_partial_", False):
        where = f"{key}.{missing[0]}" if key else missing[0]
        raise InputError(f"{where} is missing, which {part['_target_']} needs: give +{where}=VALUE.")


def is_of_this_project(module: str) -> bool:
    """Return whether a module is of this project and not of a library."""
    top = module.partition(".")[0]
    return (REPOSITORY / top / "__init__.py").is_file() or (REPOSITORY / f"{top}.py").is_file()


@functools.cache
def _signature(target: str) -> _Signature | None:
    """Return what the thing of a name can be called with; None where it is not there, which building it says."""
    try:
        found = hydra.utils.get_object(target)
    except (ImportError, ValueError):
        return None
    hints: dict[str, Any] = {}
    required: set[str] = set()
    is_open = True
    for n_before, callable_ in enumerate(_callables(found)):
        parameters = list(inspect.signature(callable_).parameters.values())
        types_ = _types(callable_)
        named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"]
        hints |= {p.name: types_.get(p.name, Any) for p in named if p.name not in hints}
        if not n_before or is_of_this_project(callable_.__module__):  # a library fills in what its bases need
            required |= {p.name for p in named if p.default is p.empty}
        is_open = any(p.kind is p.VAR_KEYWORD for p in parameters)
        if not is_open:
            break
    return _Signature(hints, frozenset(required), is_open)


def _callables(found: Any) -> Iterator[Callable[..., Any]]:
    """Yield a function, or the initialisers of a class: the next base gets what the one before passes on by name."""
    if not inspect.isclass(found):
        yield found
        return
    for base in found.__mro__:
        if "__init__" in vars(base) and base is not object:
            yield vars(base)["__init__"]


def _types(callable_: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(callable_)
    except (NameError, TypeError):  # a library that cannot say what it takes
        return {}


def fits(value: Any, hint: Any) -> bool:
    """Return whether a value of a configuration can be an argument of a type; nested parts fit any class."""
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


def _leaves(part: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield all values of a nested configuration with their keys, as the command line names them."""
    if isinstance(part, dict | list):
        for name, inner in part.items() if isinstance(part, dict) else enumerate(part):
            yield from _leaves(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, part
