"""Owns the layout of the published Stable-Foley checkpoints: from their model config and weights to a ``FoleyModel``.

Sub-modules carry the published names, so weights load without renaming; what differs is listed here: the Lightning
prefix, the second copy of the VAE inside the envelope conditioner, and a layer of the control branch that nothing
reads.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from data.envelope import instant_envelope
from stable_foley.backbone import build_backbone
from stable_foley.conditioners.envelope import VaeEnvelope
from stable_foley.conditioners.seconds import SecondsConditioner
from stable_foley.model import GLOBAL_IDS, FoleyModel
from stable_foley.weights import load_into

WINDOW_SAMPLES = 10_000
SMOOTHING_SAMPLES = 2_000
_LIGHTNING_PREFIX = "model."
_UNREAD = ("conditioner.conditioners.envelope.pretransform.", "model.controlnet.transformer.project_out.")
_PROMPTS = ("conditioner.conditioners.frames.", "conditioner.conditioners.audio.")

PublishedEnvelope = partial(VaeEnvelope, instant_envelope, WINDOW_SAMPLES, SMOOTHING_SAMPLES)


def count_control_layers(state: Mapping[str, Tensor]) -> int:
    """Number of control layers in a published state dict (the published checkpoint has 4)."""
    marker = "model.model.controlnet.conv_outs."
    return len({key.removeprefix(marker).split(".")[0] for key in state if key.startswith(marker)})


def build_published_model(model_config: Mapping[str, Any], state: Mapping[str, Tensor]) -> FoleyModel:
    """Build a published model and load its weights.

    Args:
        model_config: in stable-audio-tools' format; sizes and ranges are read from it.
        state: Lightning state dict, keys ``model.…``.

    Returns:
        The model in eval mode, with the seconds and envelope conditioners; frames and sound prompts are given as
        tokens already projected.

    Raises:
        InputError: keys missing, left over or of another shape.
    """
    width = int(model_config["model"]["conditioning"]["cond_dim"])
    ranges = {c["id"]: c["config"] for c in model_config["model"]["conditioning"]["configs"] if c["type"] == "number"}
    conditioners: dict[str, nn.Module] = {
        key: SecondsConditioner(width, float(ranges[key]["max_val"])) for key in GLOBAL_IDS
    }
    conditioners["envelope"] = PublishedEnvelope()
    model = FoleyModel(build_backbone(model_config, random_weights=True), count_control_layers(state), conditioners)
    own = {k.removeprefix(_LIGHTNING_PREFIX): v for k, v in state.items()}
    own = {k: v for k, v in own.items() if not k.startswith(_UNREAD + _PROMPTS)}
    load_into(model, own, source="the published checkpoint")
    return model.eval().requires_grad_(False)
