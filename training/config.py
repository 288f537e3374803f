"""Owns the way from a Hydra configuration to objects."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from common.errors import InputError

REPOSITORY = Path(__file__).resolve().parent.parent
OmegaConf.register_new_resolver("bundled", lambda name: str(REPOSITORY / "bundled" / name), replace=True)
WEIGHTS = ("stable_audio_open", "cavp", "clap")
"""Keys of ``paths`` that name weights."""
FAULTS = (
    OmegaConfBaseException,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    AssertionError,
    OSError,
)
"""What a wrong description of a model leads to somewhere inside the libraries that build it."""


def compose(*overrides: str) -> DictConfig:
    """A training configuration as ``python train.py …`` composes it, from any working directory.

    Raises:
        InputError: an override names what is not there.
    """
    files = [override for override in overrides if is_file_option(override.partition("=")[0])]
    others = [override for override in overrides if override not in files]
    try:
        with hydra.initialize_config_dir(str(REPOSITORY / "configs"), version_base="1.3"):
            config = hydra.compose("train", overrides=[f"hydra.searchpath=[file://{REPOSITORY}]", *others])
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(
            f"{' '.join(others)} cannot be applied ({' '.join(str(error).split())}); expected KEY=VALUE of the "
            "configuration that python train.py --cfg job shows."
        ) from error
    return change(config, files)


@contextlib.contextmanager
def describing(source: object) -> Iterator[None]:
    """Turn what a wrong description of a model leads to into one sentence that names where the description is from.

    Raises:
        InputError: what was refused, as it was said, or else the kind of fault.
    """
    try:
        yield
    except InputError:
        raise
    except InstantiationException as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from error
        raise InputError(_not_possible(source, error.__cause__ or error)) from error
    except FAULTS as error:
        raise InputError(_not_possible(source, error)) from error


def _not_possible(source: object, error: BaseException) -> str:
    reason = " ".join(str(error).split())[:200]
    return f"{source} does not describe what can be built ({type(error).__name__}: {reason}); correct it."


def instantiate(config: DictConfig, **arguments: Any) -> Any:
    """Build what a configuration names by ``_target_``, with plain lists and dictionaries inside.

    Raises:
        InputError: what a target refused, as it said it.
    """
    if not isinstance(config, DictConfig):
        raise InputError(
            f"The configuration does not describe what can be built ({config!r} as a section); correct it."
        )
    with describing(OmegaConf.select(config, "_target_", default="the configuration")):
        return hydra.utils.instantiate(config, _convert_="all", **arguments)


def change(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Apply ``key.sub=value`` to a configuration; names of files are taken as they are, whatever is in them.

    Raises:
        InputError: an override names what is not there or a whole section, or has no value.
    """
    OmegaConf.set_struct(config, True)
    try:
        for override in overrides:
            key, equals, value = override.partition("=")
            if equals and isinstance(OmegaConf.select(config, key), DictConfig) and not value.startswith("{"):
                raise ValueError(f"{key} is a section, which comes with the checkpoint; change {key}.NAME")
            if equals and is_file_option(key):
                OmegaConf.update(config, key, None if value in ("null", "") else value)
            else:
                config.merge_with_dotlist([override])
    except (*FAULTS, YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"--set {override} cannot be applied ({reason}); expected KEY=VALUE of the configuration."
        ) from error
    return config


def is_file_option(key: str) -> bool:
    """Whether a key of the configuration names a file."""
    return key == "backbone.weights" or key.removeprefix("paths.") in WEIGHTS


def build_model(config: DictConfig) -> Any:
    """Build ``config.model``; weights that no file gives are random, the same for the same ``config.seed``.

    Raises:
        InputError: a part of the configuration or a file does not fit.
    """
    random_weights(config)
    with describing("the configuration"), torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(config.seed))
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
    """A path from the root of the file system; None stays."""
    return None if path is None else str(Path(path).resolve())
