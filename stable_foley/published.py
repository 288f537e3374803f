"""Owns the layout of the published Stable-Foley checkpoints: conversion of their weights to a model of this project.

Sub-modules have the published names, so weights load without renaming. The differences are listed here: the Lightning
prefix, the second copy of the VAE inside the envelope conditioner, CAVP's audio tower, and a layer of the control
branch that nothing reads. All sizes are read from the weights.
"""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from cavp.weights import AUDIO_KEYS, cavp_from_state_dict
from common.weights import WeightSelection, fitting_weights, load_into, refuse_differences, weights_sha256
from media.envelope import PUBLISHED_SMOOTHING_SAMPLES, PUBLISHED_WINDOW_SAMPLES, instant_envelope
from stable_foley.backbone import CODEC, CONDITIONERS, DIT, LIGHTNING, PROJECTIONS, SECONDS, build_backbone
from stable_foley.conditioners.envelope import VaeEnvelope
from stable_foley.conditioners.seconds import SecondsConditioner
from stable_foley.conditions import FRAMES_ID, PROMPT_ID, SECONDS_IDS
from stable_foley.config import MAIN_EXPERIMENT, build_model, inference_config
from stable_foley.model import CONTROL, FoleyModel
from training.config import WEIGHTS, compose

CAVP = f"{CONDITIONERS}frames.stage1_model."
VAE_AGAIN = f"{CONDITIONERS}envelope.pretransform."
UNUSED = (
    VAE_AGAIN,
    f"{CONTROL}transformer.project_out.",
    *(CAVP + k for k in AUDIO_KEYS),
)
"""Prefixes of weights in the published checkpoints that do not affect the sound."""
SHOWN = {
    "embed_dim": [
        ("transformer.project_in.weight", 0),
        ("to_timestep_embed.0.bias", 0),
        ("to_timestep_embed.2.bias", 0),
    ],
    "cond_token_dim": [("to_cond_embed.0.weight", 1), ("to_cond_embed.2.weight", 1), ("to_cond_embed.2.weight", 0)],
    "global_cond_dim": [("to_global_embed.0.weight", 1)],
}
"""Sizes of the transformer → weights and axes that have them."""
MIN_FREQUENCIES = 16
"""Rotary frequencies of a head of 64, as in Stable Audio Open; narrower heads have as many and cannot be told apart."""

PublishedEnvelope = partial(VaeEnvelope, instant_envelope, PUBLISHED_WINDOW_SAMPLES, PUBLISHED_SMOOTHING_SAMPLES)


@dataclass(frozen=True)
class Published:
    """The parts of a published checkpoint.

    Attributes:
        weights: control branch, projections and seconds embedders, by the names of ``FoleyModel``.
        config: the training configuration that rebuilds the model, with frozen parts identified by checksum.
        frozen: frozen parts by name → number of their tensors; they are loaded from other files.
        unused: names of unused weights in the file.
    """

    weights: Mapping[str, Tensor]
    config: dict[str, Any]
    frozen: dict[str, int]
    unused: list[str]


def is_published(state: Mapping[str, Tensor]) -> bool:
    """Return whether these are the weights of a published Stable-Foley checkpoint."""
    return any(key.startswith(LIGHTNING + CONTROL) for key in state)


def read_published(state: Mapping[str, Tensor], path: Path, *, inside: bool) -> Published:
    """Split a published checkpoint into its parts, after checking that all of it fits.

    Args:
        state: Lightning state dict, keys ``model.…``.
        path: its file.
        inside: whether to load the frozen parts from this file; otherwise ``config`` has their checksums, and they are
            loaded from the files that ``paths`` names.

    Raises:
        InputError: keys are missing, unknown, of another shape or not finite.
    """
    own = {key.removeprefix(LIGHTNING): key for key in state if key.startswith(LIGHTNING)}
    used = WeightSelection(state, {name: key for name, key in own.items() if not name.startswith(UNUSED)})
    cavp = used.starting_with(CAVP)
    config = _configuration(used)
    with torch.device("meta"):
        model = build_model(_without_files(config))
    others = WeightSelection(state, {name: key for name, key in used.names.items() if name not in cavp})
    elsewhere = [key for key in model.state_dict() if key.startswith(CAVP)]
    for _ in fitting_weights(model, others, source=path, optional=elsewhere):
        pass
    again = {name.removeprefix(VAE_AGAIN): key for name, key in own.items() if name.startswith(VAE_AGAIN)}
    twins = {CODEC + name: key for name, key in again.items() if CODEC + name in used}
    different = [f"{key} differs from {name}" for name, key in twins.items() if not torch.equal(state[key], used[name])]
    refuse_differences(different, path)
    tower = cavp_from_state_dict(cavp, source=path) if cavp else None
    if inside:
        config.backbone.weights = str(path.resolve())
        if tower is not None:
            config.conditioners.frames.cavp.weights = str(path.resolve())
    else:
        config.backbone.sha256 = weights_sha256(used.starting_with(DIT, CODEC))
        if tower is not None:
            config.conditioners.frames.cavp.sha256 = weights_sha256(tower.state_dict())
    frozen = {"transformer": used.starting_with(DIT), "VAE": used.starting_with(CODEC), "CAVP video tower": cavp}
    return Published(
        weights=used.starting_with(CONTROL, SECONDS, *PROJECTIONS),
        config=OmegaConf.to_container(config, resolve=False),  # type: ignore[arg-type]
        frozen={name: len(part) for name, part in frozen.items() if part},
        unused=sorted(set(state) - set(used.names.values())),
    )


def _configuration(state: Mapping[str, Tensor]) -> DictConfig:
    """Compose the main experiment with the sizes and conditioners that the weights have.

    Settings that the weights do not determine are those of Stable Audio Open. Missing weights are reported when all are
    compared.
    """
    config = inference_config(compose(MAIN_EXPERIMENT))
    outs, layers = _count(state, f"{CONTROL}conv_outs."), _count(state, f"{CONTROL}transformer.layers.")
    config.model.control_layers = max(outs, layers)
    for key in (FRAMES_ID, PROMPT_ID):
        if not any(name.startswith(f"{CONDITIONERS}{key}.") for name in state):
            del config.conditioners[key]
    sizes = config.backbone.model_config.model
    dit, vae = sizes.diffusion.config, sizes.pretransform.config
    dit.depth = _count(state, f"{DIT}transformer.layers.") or dit.depth
    for name, places in SHOWN.items():
        found = [size for key, axis in places if (size := _size(state, DIT + key, axis))]
        dit[name] = statistics.mode(found) if found else dit[name]  # a single damaged weight has no effect
    n_frequencies = _size(state, f"{DIT}transformer.rotary_pos_emb.inv_freq", 0) or MIN_FREQUENCIES
    dit.num_heads = max(1, dit.embed_dim // (4 * n_frequencies))  # half of each head is rotated, in pairs
    channels = _size(state, f"{CODEC}model.encoder.layers.0.weight_v", 0) or vae.encoder.config.channels
    vae.encoder.config.channels = vae.decoder.config.channels = channels
    return config


def _size(state: Mapping[str, Tensor], key: str, axis: int) -> int | None:
    """Return a size of a weight; None if it is unavailable, which the comparison of all weights reports later."""
    shape = state[key].shape if key in state else ()
    return (shape[axis] or None) if axis < len(shape) else None


def _without_files(config: DictConfig) -> DictConfig:
    """Return a copy of the configuration that reads nothing from files."""
    config = config.copy()
    config.paths.update({"random_weights": True} | dict.fromkeys(WEIGHTS))
    return config


def _count(state: Iterable[str], beginning: str) -> int:
    """Return how many numbers follow ``beginning`` in the names."""
    return len({key.removeprefix(beginning).split(".")[0] for key in state if key.startswith(beginning)})


def build_published_model(model_config: Mapping[str, Any], state: Mapping[str, Tensor], dtype: str) -> FoleyModel:
    """Build a published model without prompts and load its weights.

    Args:
        model_config: in stable-audio-tools' format; sizes and ranges are read from it.
        state: Lightning state dict, keys ``model.…``.
        dtype: precision of the transformer and its control branch, see ``build_backbone``.

    Returns:
        The model in eval mode, with the seconds and envelope conditioners; frames and sound prompts must be given as
        projected tokens.

    Raises:
        InputError: keys are missing, unexpected or of another shape.
    """
    width = int(model_config["model"]["conditioning"]["cond_dim"])
    ranges = {c["id"]: c["config"] for c in model_config["model"]["conditioning"]["configs"] if c["type"] == "number"}
    conditioners: dict[str, nn.Module] = {
        key: SecondsConditioner(width, float(ranges[key]["max_val"])) for key in SECONDS_IDS
    }
    conditioners["envelope"] = PublishedEnvelope()
    own = {key.removeprefix(LIGHTNING): key for key in state}
    skipped = (*UNUSED, CAVP, *PROJECTIONS)
    with torch.device("meta"):  # loading the weights allocates the memory
        backbone = build_backbone(model_config, random_weights=True, dtype=dtype)
        model = FoleyModel(backbone, _count(own, f"{CONTROL}conv_outs."), conditioners)
    used = WeightSelection(state, {name: key for name, key in own.items() if not name.startswith(skipped)})
    load_into(model, used, source="the published checkpoint")
    return model.eval().requires_grad_(False)
