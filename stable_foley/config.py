"""Owns the way from a Hydra configuration to objects."""

from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from data.errors import InputError
from stable_foley.model import FoleyModel


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


def build_model(config: DictConfig) -> FoleyModel:
    """Build ``config.model``; weights that no file gives are random, the same for the same ``config.seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(config.seed))
        return instantiate(config.model)


def composed_config(config: DictConfig) -> dict[str, Any]:
    """A training configuration as checkpoints keep it: complete, free of the environment, references kept.

    Since references stay, a change of ``paths.…`` or ``backbone.…`` reaches every place that reads it.
    """
    composed = OmegaConf.to_container(config, resolve=False)
    if config.backbone.weights is not None:
        composed["backbone"]["weights"] = str(Path(config.backbone.weights).resolve())  # type: ignore[index, call-overload]
    environment = {"tag": config.tag, "paths": OmegaConf.to_container(config.paths, resolve=True)}
    return composed | environment  # type: ignore[operator, return-value]
