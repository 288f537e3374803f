"""Owns the backbone: builds a diffusion transformer with its latent codec, and reads their weights.

Models are described in the ``model_config.json`` format of stable-audio-tools, so the published Stable Audio Open, the
small ``mini`` and the ``debug`` model of the tests are built in the same way.
"""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from common.choices import DTYPES
from common.errors import InputError
from common.weights import WeightSelection, check_sha256, load_into, read_weights, weights_sha256
from stable_foley.audio_tools import LIBRARY_ERRORS
from stable_foley.codec import LatentCodec, VaeLatent, build_codec, check_layers
from stable_foley.dit import DiT
from stable_foley.hub import backbone_file

log = logging.getLogger(__name__)

DIT, CODEC, CONDITIONERS = "model.model.", "pretransform.", "conditioner.conditioners."
SECONDS = f"{CONDITIONERS}seconds_"
PROJECTIONS = tuple(f"{CONDITIONERS}{key}.proj_out." for key in ("frames", "audio"))
"""Prefixes of the backbone's weights, in its own files and in whole models."""
LIGHTNING = "model."
"""Prefix of every name in a checkpoint of the published training."""


@dataclass(frozen=True)
class Backbone:
    """A diffusion transformer with its latent codec.

    Attributes:
        dit: the transformer, its weights loaded.
        codec: the latent codec, frozen, in eval mode, in float32.
        conditioner_weights: weights by name of conditioners that are stored with the backbone (``seconds_start.…``, and
            the ``proj_out`` of those that it was trained with).
        weights: the file of the weights; None: random.
        sha256: checksum of transformer and codec, see ``weights_sha256``; None: random.
    """

    dit: DiT
    codec: LatentCodec
    conditioner_weights: dict[str, Tensor] = field(default_factory=dict)
    weights: Path | None = None
    sha256: str | None = None

    @property
    def samples_per_token(self) -> int:
        """Samples of sound that one token of the transformer covers."""
        return self.codec.samples_per_step * self.dit.patch_size


def build_backbone(
    model_config: Mapping[str, Any],
    weights: str | None = None,
    random_weights: bool = False,
    hub_id: str | None = None,
    sha256: str | None = None,
    gradient_checkpointing: bool = False,
    dtype: str = "float32",
) -> Backbone:
    """Build the transformer and its latent codec, and load their weights directly in the final precision.

    Args:
        model_config: in the format of stable-audio-tools; ``model.pretransform.type`` is ``autoencoder`` (the VAE) or
            ``mel`` (mel cepstra and fine levels, no weights).
        weights: a file with keys ``model.model.…`` (transformer), ``pretransform.…`` (VAE) and
            ``conditioner.conditioners.…``, as in Stable Audio Open and the output of ``exp=train_backbone.yaml``, or a
            folder with ``model.safetensors`` or ``model.ckpt``; a published Stable-Foley checkpoint contains them too.
        random_weights: whether random weights are allowed if ``weights`` is None.
        hub_id: the repository whose ``model.safetensors`` is downloaded if there are no ``weights`` and random ones are
            not allowed.
        sha256: expected checksum of transformer and codec; None accepts any.
        gradient_checkpointing: recompute activations in the backward pass.
        dtype: precision of the transformer, one of ``DTYPES``; the codec is always in float32, so that it adds no
            noise.

    Returns:
        The backbone, transformer trainable as built, codec frozen.

    Raises:
        InputError: the file is missing, cannot be downloaded, is damaged, of another size, or not the expected one.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is not known; expected one of {', '.join(DTYPES)}.")
    path = None if random_weights and weights is None else backbone_file(weights, hub_id)
    where = contextlib.nullcontext() if path is None else torch.device("meta")  # loading allocates memory
    try:
        with where, default_dtype(getattr(torch, dtype)):
            dit = DiT(gradient_checkpointing=gradient_checkpointing, **dit_config(model_config))
        codec = build_codec(model_config["model"]["pretransform"], int(model_config["sample_rate"]))
        _check_channels(dit.postprocess_conv.out_channels, cast(LatentCodec, codec).n_latent_channels)
    except InputError:
        raise
    except LIBRARY_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"backbone.model_config describes no model ({type(error).__name__}: {reason}); expected a description in "
            "the format of stable-audio-tools, as in configs/backbone: correct it."
        ) from error
    if path is None:
        if not next(dit.parameters()).is_meta:
            log.warning("the backbone has random weights: train it or give weights before anything is trained with it")
        return Backbone(dit, cast(LatentCodec, codec))
    state = read_backbone(path)
    load_into(dit, state, prefix=DIT, source=path)
    if isinstance(codec, VaeLatent):
        load_into(codec, state, prefix=CODEC, source=path)
    found_sha256 = backbone_sha256(state)
    option = "backbone.weights" if hub_id is None else "paths.stable_audio_open"
    check_sha256(found_sha256, sha256, source=path, option=option, part="backbone")
    conditioner_weights = {key.removeprefix(CONDITIONERS): state[key] for key in state if _is_of_conditioner(key)}
    return Backbone(dit, cast(LatentCodec, codec), conditioner_weights, path, found_sha256)


def read_backbone(path: Path) -> WeightSelection:
    """Read the weights of a backbone from a file, by Stable Audio Open's names for them.

    A checkpoint of the published training contains them among others, with a prefix.

    Raises:
        InputError: the file is missing or damaged.
    """
    state = read_weights(path)
    prefix = LIGHTNING if any(key.startswith(LIGHTNING + DIT) for key in state) else ""
    names = {key.removeprefix(prefix): key for key in state}
    return WeightSelection(
        state, {name: key for name, key in names.items() if name.startswith((DIT, CODEC)) or _is_of_conditioner(name)}
    )


def _is_of_conditioner(name: str) -> bool:
    """Return whether a weight belongs to the trained part of a conditioner."""
    return name.startswith(SECONDS) or (name.startswith(CONDITIONERS) and ".proj_out." in name)


def backbone_sha256(state: Mapping[str, Tensor]) -> str:
    """Return the checksum of transformer and codec among the weights of a backbone, see ``weights_sha256``."""
    return weights_sha256(WeightSelection(state, {key: key for key in state if key.startswith((DIT, CODEC))}))


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Give new floating-point tensors this type within the block."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def dit_config(model_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the transformer's arguments from a ``model_config.json``, without those of the published ControlNet."""
    config = dict(model_config["model"]["diffusion"]["config"])
    config.pop("controlnet_depth_factor", None)
    check_layers("model.diffusion.config.depth", config.get("depth", 1))
    return config


def _check_channels(n_of_dit: int, n_of_codec: int) -> None:
    """Refuse a transformer for another latent than the codec's, as that of a checkpoint from before a change is."""
    if n_of_dit != n_of_codec:
        raise InputError(
            f"model.diffusion.config.io_channels is {n_of_dit}, but the latent codec has {n_of_codec} channels: "
            "correct it, or train a checkpoint from before the codec changed anew."
        )
