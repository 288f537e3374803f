"""Owns what the configuration of a Foley model has beyond that of any training: its frozen backbone and encoders."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from common.errors import InputError
from common.weights import N_LISTED
from stable_foley.hub import read_model_config
from stable_foley.model import FoleyModel
from training import config as training_config
from training.config import absolute, describing
from training.stored_config import is_reference, kept_sections, resolved, stored_form

MAIN_EXPERIMENT = "exp=train_gh_controlnet.yaml"
NEEDED = ("backbone", "conditioners", "model", "sampler", "dataset.spec", "seed", "paths.random_weights")
"""Sections of a configuration that generating a sound reads."""


def build_model(config: DictConfig, dtype: str = "float32") -> FoleyModel:
    """Build ``config.model``; weights that no file gives are random, the same for the same ``config.seed``.

    Args:
        config: a whole training configuration.
        dtype: of the transformer and its control branch, see ``build_backbone``.

    Raises:
        InputError: a part of the configuration or a file does not fit.
    """
    config = _complete(config, dtype, "the configuration")
    _check_widths(config.model)
    return training_config.build_model(config)


def inference_config(config: DictConfig) -> DictConfig:
    """Return what generating a sound reads of a composed training configuration; references stay.

    Raises:
        InputError: the configuration refers to what only a training has.
    """
    return kept_sections(stored_form(config, NEEDED), "the configuration", NEEDED)


def build_checked(config: DictConfig, dtype: str, source: object) -> tuple[FoleyModel, DictConfig]:
    """Build the model of a configuration that need not be trusted, see ``training.stored_config``.

    Args:
        config: the sections that generating a sound reads, changed as they should be.
        dtype: of the transformer and its control branch, see ``build_backbone``.
        source: where the configuration comes from, named in errors.

    Returns:
        The model, and the plain configuration that it was built from.

    Raises:
        InputError: the configuration would build something else, or a part of it or a file does not fit.
    """
    resolved(config, source)  # before any of it is used
    config = resolved(_complete(config, dtype, source), source)
    _check_widths(config.model)
    model = training_config.build_model(config)
    if not isinstance(model, FoleyModel):
        raise InputError(f"{source} describes a {type(model).__name__}; give a checkpoint of a Foley model.")
    return model, config


def _check_widths(model: DictConfig) -> None:
    """Refuse conditioners whose tokens have another width than the transformer reads in their place.

    Those without ``output_dim`` state no width, and are not looked at.

    Raises:
        InputError: naming the keys and both widths.
    """
    with describing("model"):
        backbone: Any = OmegaConf.to_container(model.backbone.model_config.model.diffusion.config, resolve=True)
        conditioners: Any = OmegaConf.to_container(model.conditioners, resolve=True)
    found: dict[str, dict[str, Any]] = {"cross_attention": {}, "control": {}, "global": {}}
    for key, part in conditioners.items():
        if isinstance(part, dict) and "_target_" in part:
            place = getattr(hydra.utils.get_object(part["_target_"]), "place", None)
            if place in found:
                found[place][f"conditioners.{key}.output_dim"] = part.get("output_dim")
    expected = {"cross_attention": backbone.get("cond_token_dim"), "control": backbone.get("io_channels")}
    wrong = {
        key: width for place in expected for key, width in found[place].items() if width not in (None, expected[place])
    }
    if wrong:
        raise InputError(
            f"{', '.join(f'{key} is {width}' for key, width in wrong.items())}; expected what the backbone reads "
            f"({', '.join(f'{place} {width}' for place, width in expected.items())}): correct it."
        )
    widths, width = found["global"], backbone.get("global_cond_dim", 0)
    if all(isinstance(value, int) for value in widths.values()) and sum(widths.values()) != width:
        parts = " + ".join(f"{value} of {key}" for key, value in widths.items()) or "no conditioner"
        raise InputError(
            f"backbone.model_config.model.diffusion.config.global_cond_dim is {width}, but {parts} fill it: "
            "give conditioners that add up to it."
        )


def _complete(config: DictConfig, dtype: str, source: object) -> DictConfig:
    """Return a copy of the configuration with the backbone's stated sizes and type."""
    config = with_sizes(config)
    with describing(source):
        OmegaConf.update(config, "backbone.dtype", dtype, force_add=True)
    return config


def with_sizes(config: DictConfig) -> DictConfig:
    """Return a copy of the configuration with the sizes that the folder of the backbone's weights states, if it is one.

    Raises:
        InputError: the folder has no valid ``model_config.json``, or another than a checkpoint was trained over.
    """
    config = config.copy()
    with describing("backbone"):
        weights = config.backbone.weights
    if weights is None or not Path(weights).is_dir():
        return config
    stated = read_model_config(Path(weights))
    if config.backbone.get("sha256") is not None:
        trained: Any = OmegaConf.to_container(config.backbone.model_config, resolve=True)
        differences = sorted(_differences(trained, stated, ""))
        if differences:
            raise InputError(
                f"{Path(weights) / 'model_config.json'} states another model than the checkpoint was trained over "
                f"({'; '.join(differences[:N_LISTED])}); give the folder it was trained over."
            )
    OmegaConf.update(config, "backbone.model_config", stated, merge=False)
    return config


def _differences(a: Any, b: Any, where: str) -> Iterator[str]:
    """Yield where two nested descriptions have different values; keys of only one of them are passed over."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in a.keys() & b.keys():
            yield from _differences(a[key], b[key], f"{where}.{key}" if where else key)
    elif a != b:
        yield f"{where} {b} instead of {a}"


def composed_config(config: DictConfig, model: FoleyModel) -> dict[str, Any]:
    """Return what a checkpoint keeps of a training configuration, frozen parts named by checksum.

    Since references stay, a change of ``backbone.…`` reaches every place that reads it.
    """
    config = with_sizes(config)
    composed = stored_form(config, NEEDED)
    if not is_reference(composed["backbone"]["weights"]):
        composed["backbone"]["weights"] = absolute(config.backbone.weights)
    composed["backbone"]["sha256"] = model.backbone.sha256
    if OmegaConf.select(config, "conditioners.frames.cavp.weights") is not None:
        tower, kept = config.conditioners.frames.cavp, composed["conditioners"]["frames"]["cavp"]
        kept["sha256"] = model.conditioners["frames"].encoder_id
        if not is_reference(kept["weights"]):
            kept["weights"] = absolute(tower.weights)
    return composed
