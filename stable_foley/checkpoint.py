"""Owns checkpoint files: trained weights with the configuration that rebuilds the model around them."""

import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from yaml import YAMLError

from data.errors import InputError
from data.files import atomic_path
from stable_foley.config import build_model
from stable_foley.model import FoleyModel
from stable_foley.weights import read_weights


@dataclass(frozen=True)
class Checkpoint:
    """Contents of a checkpoint file.

    Attributes:
        weights: trained weights by name.
        config: the configuration of the training run, see ``composed_config``.
        backbone_sha256: checksum of the frozen backbone's file; None: it had random weights.
    """

    weights: dict[str, Tensor]
    config: dict[str, Any]
    backbone_sha256: str | None


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint as safetensors, atomically; configuration and checksum are in its metadata."""
    metadata = {"config": json.dumps(checkpoint.config)}
    if checkpoint.backbone_sha256 is not None:
        metadata["backbone_sha256"] = checkpoint.backbone_sha256
    weights = {key: value.detach().cpu().contiguous() for key, value in checkpoint.weights.items()}
    with atomic_path(path) as temporary:
        save_file(weights, temporary, metadata=metadata)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a ``.safetensors`` checkpoint, or a ``.ckpt`` that training left for resuming.

    Raises:
        InputError: the file is missing, damaged, or not a checkpoint of this project.
    """
    if not path.is_file():
        raise InputError(f"Checkpoint {path} does not exist; give one such as runs/TAG/checkpoints/best.safetensors.")
    if path.suffix == ".ckpt":
        return _read_lightning(path)
    weights = read_weights(path)
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        config = json.loads(metadata["config"])
    except (KeyError, SafetensorError, json.JSONDecodeError) as error:
        raise InputError(
            f"{path} holds weights but no configuration; expected a checkpoint that train.py wrote: give one."
        ) from error
    return Checkpoint(weights, config, metadata.get("backbone_sha256"))


def _read_lightning(path: Path) -> Checkpoint:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(
            f"{path} cannot be read as a checkpoint ({str(error).splitlines()[0]}); it may be cut short or not be one: "
            "copy it again or give another."
        ) from error
    if not isinstance(content, dict) or not content.get("config"):
        raise InputError(f"{path} holds no configuration; expected a checkpoint that train.py wrote: give one.")
    averaged = content.get("callbacks", {}).get("Ema", {}).get("weights", {})
    return Checkpoint(content["state_dict"] | averaged, content["config"], content.get("backbone_sha256"))


def load_model(path: Path, overrides: Sequence[str] = (), text_prompts: bool = False) -> tuple[FoleyModel, DictConfig]:
    """Rebuild the model of a checkpoint.

    Args:
        path: checkpoint file.
        overrides: changes to its configuration, ``key.sub=value``, e.g. where the backbone's weights are now.
        text_prompts: build the text branch of its prompt encoder too, where it has one.

    Returns:
        The model, in eval mode, on the CPU, and the configuration used.

    Raises:
        InputError: file, override or weights are wrong.
    """
    checkpoint = read_checkpoint(path)
    config = OmegaConf.create(checkpoint.config)
    if text_prompts and "audio" in config.conditioners:
        config.conditioners.audio.clap.text = True
    config.backbone.sha256 = checkpoint.backbone_sha256
    OmegaConf.set_struct(config, True)
    try:
        config.merge_with_dotlist(list(overrides))
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--set {' '.join(overrides)} cannot be applied ({reason}); expected KEY=VALUE of its configuration."
        ) from error
    model = build_model(config)
    model.load_trained_state(checkpoint.weights, source=path)
    return model.eval().requires_grad_(False), config
