"""Owns checkpoint files: trained weights with the configuration that rebuilds the model around them.

``python -m stable_foley.checkpoint import --published FILE.ckpt --out model.safetensors`` makes one of a published
Stable-Foley checkpoint.
"""

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors.torch import save_file
from torch import Tensor
from yaml import YAMLError

from data.errors import InputError, user_errors
from data.files import atomic_path
from data.weights import SafetensorsFile, read_pickle, state_dict_of, weights_sha256
from stable_foley.config import MAIN_EXPERIMENT, build_model, compose
from stable_foley.model import FoleyModel
from stable_foley.published import Published, is_published, read_published

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """Contents of a checkpoint file.

    Attributes:
        weights: trained weights by name.
        config: the configuration of the training run, see ``composed_config``.
    """

    weights: Mapping[str, Tensor]
    config: dict[str, Any]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint as safetensors, atomically; its metadata has the configuration and the weights' checksum."""
    weights = {key: value.detach().cpu().contiguous() for key, value in checkpoint.weights.items()}
    metadata = {"config": json.dumps(checkpoint.config), "sha256": weights_sha256(weights)}
    with atomic_path(path) as temporary:
        save_file(weights, temporary, metadata=metadata)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a ``.safetensors`` checkpoint, a ``.ckpt`` that training left for resuming, or a published one.

    Raises:
        InputError: the file is missing, damaged, or none of these.
    """
    content = _read(path)
    if content.get("config"):
        state = state_dict_of(content, path)
        averaged = content.get("callbacks", {}).get("Ema", {}).get("weights", {})
        return Checkpoint({**state, **averaged} if averaged else state, content["config"])
    published = _published(content, path, inside=True)
    if published.unused:
        log.info("%s: %d of its tensors are not used", path.name, len(published.unused))
    return Checkpoint(published.weights, published.config)


def _read(path: Path) -> dict[str, Any]:
    """Weights under ``state_dict`` and, where this project wrote them, the configuration under ``config``."""
    if path.suffix != ".safetensors":
        return read_pickle(path)
    weights = SafetensorsFile(path)
    if "config" not in weights.metadata:
        return {"state_dict": weights}
    if weights_sha256(weights) != weights.metadata.get("sha256"):
        raise InputError(f"{path} is damaged (its weights have another SHA-256 than it says); copy it again.")
    try:
        return {"state_dict": weights, "config": json.loads(weights.metadata["config"])}
    except json.JSONDecodeError as error:
        raise InputError(f"{path} has a damaged configuration ({error}); copy it again.") from error


def _published(content: Mapping[str, Any], path: Path, *, inside: bool) -> Published:
    """The published checkpoint in a file, or the error that it is none."""
    state = state_dict_of(content, path)
    if not is_published(state):
        raise InputError(
            f"{path} holds no configuration and is no published Stable-Foley checkpoint; expected one that train.py "
            "wrote, or one with keys model.model.controlnet.…: give one."
        )
    return read_published(state, path, inside=inside)


def load_model(
    path: Path | None, overrides: Sequence[str] = (), dtype: str = "float32"
) -> tuple[FoleyModel, DictConfig]:
    """Rebuild the model of a checkpoint.

    Args:
        path: checkpoint file; None: a model with random weights, as the configuration alone describes it.
        overrides: changes to its configuration, ``key.sub=value``, e.g. where the backbone's weights are now.
        dtype: of the transformer and its control branch, see ``build_backbone``.

    Returns:
        The model, in eval mode, on the CPU, and the configuration used.

    Raises:
        InputError: file, override or weights are wrong.
    """
    if path is None:
        config = compose(MAIN_EXPERIMENT, *overrides)
        if not config.paths.random_weights:
            raise InputError(
                "There is no checkpoint; give one with --checkpoint FILE, or build a model with random weights, to "
                "measure and not to listen, with --set paths.random_weights=true."
            )
        model = build_model(config, dtype)
    else:
        checkpoint = read_checkpoint(path)
        config = _changed(OmegaConf.create(checkpoint.config), overrides)
        model = build_model(config, dtype)
        model.load_trained_state(checkpoint.weights, source=path)
    return model.eval().requires_grad_(False), config


def _changed(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """A checkpoint's configuration with changes."""
    OmegaConf.set_struct(config, True)
    try:
        config.merge_with_dotlist(list(overrides))
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--set {' '.join(overrides)} cannot be applied ({reason}); expected KEY=VALUE of its configuration."
        ) from error
    return config


def import_published(path: Path, out: Path) -> Published:
    """Write the slim checkpoint of a published one: what was trained, the frozen parts by name and checksum.

    Args:
        path: the published file, ``.ckpt`` or its state dict as ``.safetensors``; not changed.
        out: where to, ``.safetensors``.

    Raises:
        InputError: the file is no published checkpoint, or is damaged, or ``out`` cannot be written.
    """
    if out.suffix != ".safetensors":
        raise InputError(f"--out {out} is no .safetensors file; give it that ending.")
    published = _published(_read(path), path, inside=False)
    save_checkpoint(out, Checkpoint(published.weights, published.config))
    return published


def report(published: Published, path: Path, out: Path) -> str:
    """What was kept of a published checkpoint, what is taken from elsewhere, and what was not used."""
    config, n_values = published.config, sum(value.numel() for value in published.weights.values())
    backbone, conditioners = config["backbone"], config["conditioners"]
    lines = [
        f"{path.name}: {config['model']['control_layers']} control layers on a transformer of "
        f"{backbone['model_config']['model']['diffusion']['config']['depth']}",
        f"kept: {len(published.weights)} tensors, {n_values / 1e6:.1f} M values (control branch, projections, seconds)",
        f"not kept: {', '.join(f'{name} ({n} tensors)' for name, n in published.frozen.items())}; taken from",
        f"  {backbone['hub_id']}, SHA-256 {backbone['sha256']} (paths.stable_audio_open)",
    ]
    if (cavp := conditioners.get("frames", {}).get("cavp", {})).get("sha256"):
        lines.append(f"  {cavp['name']}, SHA-256 {cavp['sha256']} (paths.cavp)")
    lines += [f"not used: {len(published.unused)} tensors", *(f"  {key}" for key in published.unused)]
    return "\n".join([*lines, f"wrote {out}"])


@user_errors()
def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    description = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m stable_foley.checkpoint", description=description)
    commands = parser.add_subparsers(dest="command", required=True)
    importing = commands.add_parser("import", help="make a small checkpoint of a published Stable-Foley one")
    importing.add_argument("--published", type=Path, required=True, help="published checkpoint, .ckpt")
    importing.add_argument("--out", type=Path, required=True, help="checkpoint to write, .safetensors")
    args = parser.parse_args(arguments)
    sys.stdout.write(report(import_published(args.published, args.out), args.published, args.out) + "\n")


if __name__ == "__main__":
    sys.exit(main())
