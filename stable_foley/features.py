"""Owns what the frozen encoders make of recordings: all that training needs of them, and what a cache keeps.

A feature is deterministic; what is random about a latent is drawn from it anew each time.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from common.weights import weights_sha256
from data.batch import FoleyBatch
from data.cache import AUDIO, ENVELOPE, FRAMES, SOUND, tensor_name
from stable_foley.model import CONTROL_ID, SECONDS_IDS, FoleyModel

_RAW = {ENVELOPE: "wave", AUDIO: "wave", FRAMES: "frames"}
"""Features of conditioners, by their ids → the field of a batch that each is made of."""
assert CONTROL_ID == ENVELOPE


def encoder_ids(model: FoleyModel) -> dict[str, str]:
    """For each feature of a model, what tells its encoder from any other: settings and checksums of weights."""
    pretransform = cast(nn.Module, model.pretransform)
    tensors = pretransform.state_dict() | dict(pretransform.named_buffers())  # settings of those without weights
    codec = f"{type(pretransform).__name__} {weights_sha256(tensors)}"
    ids = {SOUND: codec}
    for name in _RAW.keys() & model.conditioners.keys():
        conditioner = model.conditioners[name]
        if name == ENVELOPE:
            ids[name] = f"{type(conditioner).__name__}({conditioner.extra_repr()}) {codec}"
        else:
            ids[name] = conditioner.sha256
    return ids


@torch.no_grad()
def encode_features(model: FoleyModel, batch: FoleyBatch, names: Collection[str] | None = None) -> dict[str, Tensor]:
    """Run the frozen encoders over chunks.

    Args:
        model: gives the encoders.
        batch: B chunks with sound, and frames where the model reads them, on the model's device.
        names: which features; None: all that the model has.

    Returns:
        By name: ``sound`` (B, P, L), from which the codec draws latents; ``envelope``, from which the envelope's
        conditioner draws; ``audio`` (B, 512) from CLAP; ``frames`` (B, T, 512) from CAVP.

    Raises:
        InputError: the prompt encoder cannot be built.
    """
    assert batch.wave is not None
    features = {}
    for name in encoder_names(model) if names is None else names:
        if name == SOUND:
            features[name] = model.pretransform.parameters_of(model.padded(batch.wave))
        elif name == ENVELOPE:
            envelope = model.conditioners[name].measure(batch.wave, model.pretransform.sample_rate_hz)
            features[name] = model.envelope_parameters(envelope, batch.wave.shape[-1])
        else:
            features[name] = model.conditioners[name].embed(getattr(batch, _RAW[name]))
    return features


def encode_levels(model: FoleyModel, batch: FoleyBatch, factors: Sequence[float]) -> dict[str, Tensor]:
    """All features (B, …), by ``tensor_name``, of a batch whose sound is multiplied by each of the factors."""
    tensors: dict[str, Tensor] = {}
    assert batch.wave is not None
    for factor in factors:
        new = [name for name in encoder_names(model) if tensor_name(name, factor) not in tensors]
        features = encode_features(model, replace(batch, wave=factor * batch.wave), new)
        tensors |= {tensor_name(name, factor): value.cpu() for name, value in features.items()}
    return tensors


def encoder_names(model: FoleyModel) -> list[str]:
    """Names of the features that a model has, in a fixed order."""
    return [SOUND, *(name for name in _RAW if name in model.conditioners)]


def draw_embeddings(
    model: FoleyModel, features: Mapping[str, Tensor], batch: FoleyBatch, generator: torch.Generator
) -> dict[str, Tensor]:
    """What the conditioners project, by id: features, where a draw is needed drawn, and the seconds of a batch."""
    embeddings = {name: value for name, value in features.items() if name not in (SOUND, ENVELOPE)}
    if ENVELOPE in features:
        envelope = model.conditioners[ENVELOPE]
        embeddings[ENVELOPE] = envelope.draw(features[ENVELOPE], model.pretransform, generator)
    for key, seconds in zip(SECONDS_IDS, (torch.zeros_like(batch.duration_s), batch.duration_s), strict=True):
        if key in model.conditioners:
            embeddings[key] = model.conditioners[key].embed(seconds)
    return embeddings
