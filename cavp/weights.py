"""Reading CAVP's weights from a file or a state dict, with any key prefix and any model size."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from cavp.audio_tower import Cnn14
from cavp.label_tower import LabelTower
from cavp.model import Cavp
from cavp.video_tower import SlowOnly
from common.errors import InputError
from common.weights import WeightSelection, load_into, read_weights

FIRST_VIDEO_KEY = "video_encoder.conv1.conv.weight"
AUDIO_KEYS = ("spec_encoder.", "logit_scale", "label_encoder.")
"""Prefixes of the keys that a model of frames alone does not need."""
LABEL_KEY = "label_encoder.words.weight"


def cavp_from_state_dict(state: Mapping[str, Tensor], *, with_audio: bool = False, source: object = "CAVP") -> Cavp:
    """Build CAVP at the size of its weights and load them.

    Args:
        state: weights by key; keys may have a common prefix (`module.` in Diff-Foley's file,
            `model.conditioner.conditioners.frames.stage1_model.` in Stable-Foley's), and other keys may be present.
        with_audio: whether to build the audio tower too, and the label tower if there is one; otherwise their weights
            are ignored.
        source: name of the weights in errors.

    Returns:
        The model in eval mode.

    Raises:
        InputError: there is no CAVP in `state`, or more than one, or its weights do not fit.
    """
    weights, prefix = _own_weights(state, with_audio=with_audio, source=source)
    try:
        with torch.device("meta"):  # loading the weights allocates the memory
            model = _untrained(weights, with_audio=with_audio)
    except KeyError as error:
        raise InputError(f"{source} lacks {prefix}{error.args[0]}; give complete weights of CAVP.") from error
    except RuntimeError as error:
        raise InputError(f"{source} has weights of impossible sizes ({error}); give weights of CAVP.") from error
    load_into(model, weights, source=source)
    return model.eval()


def _own_weights(state: Mapping[str, Tensor], *, with_audio: bool, source: object) -> tuple[WeightSelection, str]:
    """Select CAVP's weights under its own names; return them and the prefix that they have in `state`."""
    prefixes = [key.removesuffix(FIRST_VIDEO_KEY) for key in state if key.endswith(FIRST_VIDEO_KEY)]
    if len(prefixes) != 1:
        raise InputError(
            f"{source} has {len(prefixes)} keys that end in {FIRST_VIDEO_KEY} where one was expected; give weights of "
            "CAVP such as cavp_epoch66.ckpt."
        )
    prefix = prefixes[0]
    skipped = () if with_audio else tuple(prefix + key for key in AUDIO_KEYS)
    own = {key.removeprefix(prefix): key for key in state if key.startswith(prefix) and not key.startswith(skipped)}
    return WeightSelection(state, own), prefix


def _untrained(state: Mapping[str, Tensor], *, with_audio: bool) -> Cavp:
    """Build the model with the sizes that the weights have."""

    def n_out(key: str) -> int:
        shape = tuple(state[key].shape)
        if not shape or 0 in shape:
            raise InputError(f"{key} has shape {shape}, expected a size above 0; give weights of CAVP.")
        return shape[0]

    embed_dim = n_out("video_project_head.weight")
    audio_tower = label_tower = None
    if with_audio:
        audio_tower = Cnn14(
            base_channels=n_out("spec_encoder.conv_block1.conv1.weight"),
            n_mels=n_out("spec_encoder.bn.weight"),
            embed_dim=embed_dim,
        )
    if with_audio and LABEL_KEY in state:
        label_tower = LabelTower(embed_dim, width=n_out("label_encoder.layers.0.weight"))
    return Cavp(SlowOnly(n_out(FIRST_VIDEO_KEY)), audio_tower, label_tower, embed_dim=embed_dim)


def trainable_cavp(
    video_encoder: SlowOnly,
    spec_encoder: Cnn14,
    label_encoder: LabelTower | None = None,
    *,
    embed_dim: int = 512,
    weights: str | Path | None = None,
) -> Cavp:
    """Build CAVP for training, at the size of its towers.

    Args:
        video_encoder: the video tower.
        spec_encoder: the audio tower.
        label_encoder: the label tower, or None.
        embed_dim: width D of the embedding.
        weights: file of initial weights for all towers, which must have this size (Diff-Foley's `cavp_epoch66.ckpt`
            has the default size); None: the towers keep their weights.

    Returns:
        The model in training mode.

    Raises:
        InputError: the file cannot be read, or its weights do not fit the towers.
        ValueError: the towers have different widths.
    """
    model = Cavp(video_encoder, spec_encoder, label_encoder, embed_dim=embed_dim)
    if weights is not None:
        own, _ = _own_weights(read_weights(Path(weights)), with_audio=True, source=weights)
        load_into(model, own, source=weights)
    return model


def load_cavp(path: str | Path, *, with_audio: bool = False) -> Cavp:
    """Load CAVP from a file, for instance Diff-Foley's `cavp_epoch66.ckpt`.

    Args:
        path: `.safetensors`, or a file that `torch.save` wrote.
        with_audio: whether to build the audio tower too, and the label tower if there is one.

    Returns:
        The model in eval mode.

    Raises:
        InputError: the file cannot be read, or its weights are not CAVP's.
    """
    return cavp_from_state_dict(read_weights(Path(path)), with_audio=with_audio, source=path)
