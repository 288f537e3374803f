"""Owns what the frozen encoders make of recordings: all that training needs of them, and what a cache keeps.

A feature is deterministic; what is random about a latent is drawn from it anew each time.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from data.batch import FoleyBatch
from data.cache import SOUND, tensor_name
from stable_foley.backbone import codec_id
from stable_foley.model import FoleyModel


def encoder_ids(model: FoleyModel) -> dict[str, str]:
    """Return, for each feature of a model, what tells its encoder from any other: settings and checksums of weights.

    The features are ``sound``, from which the codec draws latents, and by their ids those of the conditioners.
    """
    of_conditioners = {key: conditioner.encoder_id for key, conditioner in model.conditioners.items()}
    return {SOUND: codec_id(model.pretransform)} | {key: found for key, found in of_conditioners.items() if found}


def feature_names(model: FoleyModel) -> list[str]:
    """Return the names of the features that a model has, in a fixed order."""
    return [SOUND, *(key for key, conditioner in model.conditioners.items() if conditioner.encoder_id)]


@torch.no_grad()
def encode_features(model: FoleyModel, batch: FoleyBatch, names: Collection[str] | None = None) -> dict[str, Tensor]:
    """Run the frozen encoders over chunks.

    Args:
        model: gives the encoders.
        batch: B chunks with sound, and frames where the model reads them, on the model's device.
        names: which features; None: all that the model has.

    Returns:
        By name: ``sound`` (B, P, L), from which the codec draws latents; the features (B, …) of the conditioners.

    Raises:
        InputError: the prompt encoder cannot be built.
    """
    assert batch.wave is not None
    names = feature_names(model) if names is None else names
    ids = [name for name in names if name != SOUND]
    features = model.conditioner.encode_recorded(batch, model.padded_length(batch.wave.shape[-1]), ids)
    if SOUND in names:
        features[SOUND] = model.pretransform.parameters_of(model.padded(batch.wave))
    return features


def encode_levels(model: FoleyModel, batch: FoleyBatch, factors: Sequence[float]) -> dict[str, Tensor]:
    """All features (B, …), by ``tensor_name``, of a batch whose sound is multiplied by each of the factors."""
    tensors: dict[str, Tensor] = {}
    assert batch.wave is not None
    for factor in factors:
        new = [name for name in feature_names(model) if tensor_name(name, factor) not in tensors]
        features = encode_features(model, replace(batch, wave=factor * batch.wave), new)
        tensors |= {tensor_name(name, factor): value.cpu() for name, value in features.items()}
    return tensors
