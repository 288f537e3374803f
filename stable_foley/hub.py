"""Files of a backbone, on the Hugging Face hub or in a folder, and checks of its model_config.json."""

import json
import math
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.hub import first_sentence, hub_file

MAX_STRIDES = 100


def backbone_file(location: str | None, repo_id: str | None) -> Path:
    """Return the file with the weights of a backbone.

    Args:
        location: that file, a folder with ``model.safetensors`` or ``model.ckpt``, or None for the hub.
        repo_id: the repository on the hub; None: it is not published there.

    Raises:
        InputError: the file does not exist or cannot be downloaded.
    """
    if location is None and repo_id is not None:
        return hub_file(repo_id, "model.safetensors", remedy="or give its folder with paths.stable_audio_open=FOLDER")
    if location is None:
        raise InputError(
            "The backbone has no weights; give backbone.weights=FILE (infer.py: --set backbone.weights=FILE)."
        )
    path = Path(location)
    for file in (path, path / "model.safetensors", path / "model.ckpt"):
        if file.is_file():
            return file
    remedy = "check backbone.weights"
    if repo_id is not None:
        command = f"hf download {repo_id} model_config.json model.safetensors --local-dir FOLDER"
        remedy = f"get one with `{command}` and give paths.stable_audio_open=FOLDER (infer.py: after --set)"
    raise InputError(
        f"{path} {'holds neither' if path.is_dir() else 'does not exist'}; expected a file with weights, or a folder "
        f"with model.safetensors or model.ckpt: {remedy}."
    )


def read_model_config(folder: Path) -> dict[str, Any]:
    """Read the ``model_config.json`` of a latent diffusion model, in the format of stable-audio-tools.

    Raises:
        InputError: it is missing or not JSON, or does not describe such a model.
    """
    path = folder / "model_config.json"
    remedy = f"get it with `hf download stabilityai/stable-audio-open-1.0 {path.name} --local-dir {folder}`."
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} cannot be read ({first_sentence(error)}); expected the model in JSON: {remedy}"
        ) from error
    if problem := _fault(config):
        raise InputError(f"{path} {problem}; expected the format of stable-audio-tools: {remedy}")
    return config


def _fault(config: Any) -> str | None:
    """Return the fault in a description of a model, as far as its parts depend on each other; None if there is none."""

    def value(keys: str) -> Any:
        found = config
        for key in keys.split("."):
            found = found.get(key) if isinstance(found, dict) else None
        return found

    dit, vae = "model.diffusion.config", "model.pretransform.config"
    whole = [f"{dit}.{key}" for key in ("io_channels", "embed_dim", "depth", "num_heads", "cond_token_dim")]
    whole += ["sample_rate", f"{vae}.latent_dim", f"{vae}.io_channels", f"{vae}.downsampling_ratio"]
    for key in whole:
        if not _is_size(value(key)):
            return f"has no whole number above 0 as {key}"
    strides = value(f"{vae}.encoder.config.strides")
    if not isinstance(strides, list) or len(strides) > MAX_STRIDES or not all(map(_is_size, strides)):
        return f"has no list of whole numbers above 0 as {vae}.encoder.config.strides"
    conditions = (
        (value("model.pretransform.type") == "autoencoder", "model.pretransform.type that is not 'autoencoder'"),
        (value(f"{vae}.bottleneck.type") == "vae", f"{vae}.bottleneck.type that is not 'vae'"),
        (value(f"{vae}.latent_dim") == value(f"{dit}.io_channels"), f"{vae}.latent_dim other than {dit}.io_channels"),
        (math.prod(strides) == value(f"{vae}.downsampling_ratio"), f"{vae}.downsampling_ratio other than its strides'"),
        (value(f"{dit}.embed_dim") % value(f"{dit}.num_heads") == 0, f"{dit}.num_heads that do not divide embed_dim"),
        ("_target_" not in json.dumps(config), "a key '_target_'"),
        ("${" not in json.dumps(config), "a reference ${…}"),
    )
    return next((f"has {problem}" for holds, problem in conditions if not holds), None)


def _is_size(value: Any) -> bool:
    """Return whether a value is a whole number above 0, of a size that a tensor can have."""
    return isinstance(value, int) and 1 <= value < 2**31
