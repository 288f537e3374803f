"""Owns the way from a Hydra configuration to objects."""

from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from data.errors import InputError
from stable_foley.hub import read_model_config
from stable_foley.model import FoleyModel

REPOSITORY = Path(__file__).resolve().parent.parent
MAIN_EXPERIMENT = "exp=train_gh_controlnet.yaml"
WEIGHTS = ("stable_audio_open", "cavp", "clap")
"""Keys of ``paths`` that name weights."""


def compose(*overrides: str) -> DictConfig:
    """A training configuration as ``python train.py …`` composes it, from any working directory.

    Raises:
        InputError: an override names what is not there.
    """
    try:
        with hydra.initialize_config_dir(str(REPOSITORY / "configs"), version_base="1.3"):
            return hydra.compose("train", overrides=[f"hydra.searchpath=[file://{REPOSITORY}]", *overrides])
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(
            f"{' '.join(overrides)} cannot be applied ({' '.join(str(error).split())}); expected KEY=VALUE of the "
            "configuration that python train.py --cfg job shows."
        ) from error


def instantiate(config: DictConfig, **arguments: Any) -> Any:
    """Build what a configuration names by ``_target_``, with plain lists and dictionaries inside.

    Raises:
        InputError: what a target refused, as it said it.
    """
    try:
        return hydra.utils.instantiate(config, _convert_="all", **arguments)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, InputError):
            raise cause from error
        if isinstance(cause, ValueError | TypeError | MisconfigurationException):
            target = config.get("_target_", "the configuration")
            raise InputError(f"{target} does not accept its options ({cause}); correct them.") from error
        raise


def build_model(config: DictConfig, dtype: str = "float32") -> FoleyModel:
    """Build ``config.model``; weights that no file gives are random, the same for the same ``config.seed``.

    Args:
        config: a whole training configuration.
        dtype: of the transformer and its control branch, see ``build_backbone``.

    Raises:
        InputError: a part of the configuration or a file does not fit.
    """
    config = with_sizes(config)
    OmegaConf.update(config, "backbone.dtype", dtype, force_add=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(config.seed))
        return instantiate(config.model)


def with_sizes(config: DictConfig) -> DictConfig:
    """A copy of the configuration; where the backbone's weights are a folder, its sizes are those that this states.

    Raises:
        InputError: the folder has no valid ``model_config.json``.
    """
    config = config.copy()
    weights = config.backbone.weights
    if weights is not None and Path(weights).is_dir():
        OmegaConf.update(config, "backbone.model_config", read_model_config(Path(weights)), merge=False)
    return config


def composed_config(config: DictConfig, model: FoleyModel) -> dict[str, Any]:
    """A training configuration as checkpoints keep it: complete, free of the environment, references kept.

    Since references stay, a change of ``paths.…`` or ``backbone.…`` reaches every place that reads it. Frozen parts are
    named by their checksum.
    """
    config = with_sizes(config)
    composed: Any = OmegaConf.to_container(config, resolve=False)
    paths: Any = OmegaConf.to_container(config.paths, resolve=True)
    composed |= {"tag": config.tag, "paths": paths | {key: _absolute(paths[key]) for key in WEIGHTS}}
    if not OmegaConf.is_interpolation(config.backbone, "weights"):
        composed["backbone"]["weights"] = _absolute(config.backbone.weights)
    composed["backbone"]["sha256"] = model.backbone.sha256
    if OmegaConf.select(config, "conditioners.frames.cavp.weights") is not None:
        composed["conditioners"]["frames"]["cavp"]["sha256"] = model.conditioners["frames"].sha256
    return composed


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).resolve())
