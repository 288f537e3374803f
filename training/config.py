"""Owns the way from a Hydra configuration to objects."""

import contextlib
import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from common.errors import InputError, check_seed
from training.checks import REPOSITORY, check_arguments, is_of_this_project, one_sentence

OmegaConf.register_new_resolver("bundled", lambda name: str(REPOSITORY / "bundled" / name), replace=True)
_LEAST_LIKENESS = 0.7  # of spellings, as difflib counts it
_MOST_NAMED = 4  # keys in an error
WEIGHTS = ("stable_audio_open", "cavp", "clap")
"""Keys of ``paths`` that name weights."""


def compose(*overrides: str) -> DictConfig:
    """Return a training configuration as ``python train.py …`` composes it, from any working directory.

    Raises:
        InputError: an override names what is not there.
    """
    files = [override for override in overrides if is_file_option(override.partition("=")[0])]
    others = [override for override in overrides if override not in files]
    try:
        with one_sentence(), hydra.initialize_config_dir(str(REPOSITORY / "configs"), version_base="1.3"):
            config = hydra.compose("train", overrides=[f"hydra.searchpath=[file://{REPOSITORY}]", *others])
    except InputError as error:
        raise InputError(f"{' '.join(others)}: {error}") from error
    return change(config, files)


@contextlib.contextmanager
def describing(source: object) -> Iterator[None]:
    """Turn what a file with another content than expected leads to, where it is read, into one sentence.

    Put nothing inside but the reading: errors of the same kinds are bugs elsewhere.

    Raises:
        InputError: naming the source and what was not there.
    """
    try:
        yield
    except InputError:
        raise
    except (OmegaConfBaseException, LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise InputError(_not_possible(source, error)) from error


def _not_possible(source: object, error: BaseException) -> str:
    reason = " ".join(str(error).split())[:200]
    return f"{source} does not describe what can be built ({type(error).__name__}: {reason}); correct it."


def instantiate(config: DictConfig, **arguments: Any) -> Any:
    """Build what a configuration names by ``_target_``, with plain lists and dictionaries inside.

    Raises:
        InputError: a value has no argument, or one of another type, see ``check_arguments``; or a part was refused, by
            an ``InputError`` of this project or any error of a library. Every other error is a bug and stays.
    """
    if not isinstance(config, DictConfig):
        raise InputError(
            f"The configuration does not describe what can be built ({config!r} as a section); correct it."
        )
    key = config._get_full_key(None)
    with one_sentence():
        check_arguments(OmegaConf.to_container(config, resolve=True), key, tuple(arguments))
    try:
        return hydra.utils.instantiate(config, _convert_="all", **arguments)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, InputError):
            raise cause from error
        if cause is None or not _is_of_this_project(cause):
            raise InputError(_not_possible(config.get("_target_", key), cause or error)) from error
        raise cause from None


def _is_of_this_project(error: BaseException) -> bool:
    """Return whether Hydra called, and the fault lies in, a class or a function of this project."""
    called = error.__traceback__ and error.__traceback__.tb_next  # below Hydra's own frame
    return called is not None and is_of_this_project(called.tb_frame.f_globals.get("__name__", ""))


def change(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Apply ``key.sub=value`` to a configuration; names of files are taken as they are, whatever is in them.

    Raises:
        InputError: an override names what is not there or a whole section, or has no value.
    """
    OmegaConf.set_struct(config, True)
    try:
        for override in overrides:
            key, equals, value = override.partition("=")
            if not (key and equals):
                raise ValueError("a key or a value is missing")
            if isinstance(OmegaConf.select(config, key), DictConfig) and not value.startswith("{"):
                raise ValueError(f"{key} is a section, which comes with the checkpoint and is changed key by key")
            if is_file_option(key):
                OmegaConf.update(config, key, None if value in ("null", "") else value)
            else:
                config.merge_with_dotlist([override])
    except (OmegaConfBaseException, ValueError, LookupError, YAMLError) as error:
        reason = " ".join(str(error).split("full_key:")[0].split())
        near = nearest_keys(config, override.partition("=")[0])
        keys = f"such as {', '.join(near)}" if near else f"which has {', '.join(map(str, config))}"
        raise InputError(
            f"--set {override} cannot be applied ({reason}): give KEY=VALUE of the configuration, {keys}."
        ) from error
    return config


def nearest_keys(config: DictConfig, key: str) -> list[str]:
    """Return up to four keys of a configuration: those of a section, or those spelt like a key, the nearest first."""
    there = [name for name in _keys(OmegaConf.to_container(config), "") if not name.endswith("_target_")]
    if own := [name for name in there if name.startswith(f"{key}.")]:
        return own[:_MOST_NAMED]
    last = key.rpartition(".")[2]
    ends: dict[str, list[str]] = {}
    for name in there:
        ends.setdefault(name.rpartition(".")[2], []).append(name)
    near = [name for end in difflib.get_close_matches(last, ends, cutoff=_LEAST_LIKENESS) for name in ends[end]]
    near += difflib.get_close_matches(key, there, cutoff=_LEAST_LIKENESS)
    return sorted(dict.fromkeys(near), key=lambda name: -_likeness(key, name))[:_MOST_NAMED]


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


def _keys(part: Any, place: str) -> Iterator[str]:
    """Yield the keys of all values of a nested dictionary, in the form KEY.SUB."""
    for name, value in part.items():
        key = f"{place}.{name}" if place else str(name)
        if isinstance(value, dict):
            yield from _keys(value, key)
        else:
            yield key


def is_file_option(key: str) -> bool:
    """Return whether a key of the configuration names a file."""
    return key == "backbone.weights" or key.removeprefix("paths.") in WEIGHTS


def build_model(config: DictConfig) -> Any:
    """Build ``config.model``; weights that no file gives are random, the same for the same ``config.seed``.

    Raises:
        InputError: a part of the configuration or a file does not fit.
    """
    random_weights(config)
    check_seed(config.seed, "seed")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return instantiate(config.model)


def random_weights(config: DictConfig) -> bool:
    """Return ``paths.random_weights``, false where it is not set.

    Raises:
        InputError: it is neither true nor false.
    """
    value = OmegaConf.select(config, "paths.random_weights", default=False)
    if value not in (True, False):
        raise InputError(f"paths.random_weights={value} is not possible; give true or false.")
    return bool(value)


def absolute(path: str | None) -> str | None:
    """Return the absolute path; None stays None."""
    return None if path is None else str(Path(path).resolve())
