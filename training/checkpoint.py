"""Owns checkpoint files: trained weights with their configuration."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from common.errors import InputError
from common.files import atomic_path
from common.pickles import read_pickle
from common.weights import SafetensorsFile, is_safetensors, state_dict_of, weights_sha256
from training.config import describing

VERSIONS = ("torch", "pytorch-lightning", "stable-audio-tools")
"""Packages whose versions a checkpoint names, to find out later what it was made with."""


@dataclass(frozen=True)
class Checkpoint:
    """Contents of a checkpoint file.

    Attributes:
        weights: trained weights by name.
        config: what inference needs of the configuration, see ``training.stored_config.stored_form``.
    """

    weights: Mapping[str, Tensor]
    config: dict[str, Any]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint as safetensors, atomically.

    Its metadata has the configuration, a checksum of weights and configuration, and the versions of what wrote it.
    """
    weights = {key: value.detach().cpu().contiguous() for key, value in checkpoint.weights.items()}
    config = json.dumps(checkpoint.config)
    checksum = _checksum(weights, config)
    versions = json.dumps({name: version(name) for name in VERSIONS})
    with atomic_path(path) as temporary:
        try:
            save_file(weights, temporary, metadata={"config": config, "sha256": checksum, "versions": versions})
        except SafetensorError as error:
            raise InputError(f"{path} cannot be written ({error}); make room, or give another place.") from error


def check_new(option: str, path: Path) -> None:
    """Refuse, before any work, a checkpoint to write that is there already, or has another ending than it needs.

    Raises:
        InputError: naming the option.
    """
    if path.suffix != ".safetensors":
        raise InputError(f"{option} {path} is no .safetensors file; give it that ending.")
    if path.exists():
        raise InputError(f"{option} {path} exists; give another name, or remove it first.")


def _checksum(weights: Mapping[str, Tensor], config: str) -> str:
    """SHA-256 of a checkpoint: weights and configuration."""
    return hashlib.sha256(f"{weights_sha256(weights)} {config}".encode()).hexdigest()


def read_content(path: Path) -> dict[str, Any]:
    """Return the weights under ``state_dict`` and the configuration, if this project wrote one, under ``config``.

    Args:
        path: safetensors, or a file that ``torch.save`` wrote, of which everything else is given too.

    Raises:
        InputError: the file is missing, damaged, or could run code.
    """
    if not is_safetensors(path):
        return read_pickle(path)
    weights = SafetensorsFile(path)
    if "config" not in weights.metadata:
        return {"state_dict": weights}
    config = weights.metadata["config"]
    if _checksum(weights, config) != weights.metadata.get("sha256"):
        raise InputError(f"{path} is damaged (its content has another SHA-256 than it says); copy it again.")
    with describing(path):
        return {"state_dict": weights, "config": json.loads(config)}


def weights_to_use(content: Mapping[str, Any], source: object) -> Mapping[str, Tensor]:
    """Return the weights in a result of ``read_content``, averaged where the training averaged them.

    Raises:
        InputError: there are no tensors, or other things among them.
    """
    weights = state_dict_of(content, source)
    with describing(source):
        averaged = content.get("callbacks", {}).get("Ema", {}).get("weights", {})
    return {**weights, **state_dict_of({"state_dict": averaged}, source)} if averaged else weights
