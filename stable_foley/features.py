"""Owns encoding recordings with the frozen encoders, for training and for the feature cache.

A feature is deterministic; the random part of a latent is drawn from it anew each time.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from data.batch import FoleyBatch
from data.cache import SOUND, tensor_name
from stable_foley.codec import codec_id
from stable_foley.model import FoleyModel


def encoder_ids(model: FoleyModel) -> dict[str, str]:
    """Return an identifier of the encoder of each feature of a model: settings and checksums of weights.

    The features are ``sound``, from which the codec draws latents, and those of the conditioners, by their ids.
    """
    of_conditioners = {key: conditioner.encoder_id for key, conditioner in model.conditioners.items()}
    return {SOUND: codec_id(model.pretransform)} | {key: found for key, found in of_conditioners.items() if found}


def feature_names(model: FoleyModel) -> list[str]:
    """Return the names of a model's features, in a fixed order."""
    return [SOUND, *(key for key, conditioner in model.conditioners.items() if conditioner.encoder_id)]


@torch.no_grad()
def encode_features(model: FoleyModel, batch: FoleyBatch, names: Collection[str] | None = None) -> dict[str, Tensor]:
    """Run the frozen encoders on chunks.

    Args:
        model: the model with the encoders.
        batch: B chunks with sound, and frames if the model reads them, on the model's device.
        names: names of the features; None: all that the model has.

    Returns:
        Features by name: ``sound`` (B, P, L), from which the codec draws latents; those of the conditioners (B, …).

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
    """Encode a batch with its sound multiplied by each factor; return all features (B, …) by ``tensor_name``."""
    tensors: dict[str, Tensor] = {}
    assert batch.wave is not None
    for factor in factors:
        new = [name for name in feature_names(model) if tensor_name(name, factor) not in tensors]
        features = encode_features(model, replace(batch, wave=factor * batch.wave), new)
        tensors |= {tensor_name(name, factor): value.cpu() for name, value in features.items()}
    return tensors
