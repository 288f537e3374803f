"""Owns where published files are, on the Hugging Face hub or in a folder, and a sentence for whatever goes wrong."""

import json
import math
import re
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import constants, errors, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

from data.errors import InputError

MAX_STRIDES = 100
UNREACHABLE = (httpx2.ConnectError, httpx2.TimeoutException, httpx2.ProxyError, errors.LocalEntryNotFoundError)


def hub_file(repo_id: str, filename: str, *, remedy: str = "") -> Path:
    """A file of the hub: from the local cache without any request, else downloaded with the user's token.

    Args:
        repo_id: ``owner/name``.
        filename: its path in the repository.
        remedy: ends the sentence of every error, such as "or give a local file with paths.cavp=FILE".

    Returns:
        Its path in the cache of huggingface_hub, where it appears whole or not at all.

    Raises:
        InputError: it is not cached and cannot be had: no network, no access, no such file, no room.
    """
    try:
        cached = try_to_load_from_cache(repo_id, filename)
        if isinstance(cached, str):
            return Path(cached)
        # One request without retries: where there is no network, hf_hub_download by itself tries for minutes.
        get_hf_file_metadata(hf_hub_url(repo_id, filename), timeout=constants.HF_HUB_ETAG_TIMEOUT)
        return Path(hf_hub_download(repo_id, filename))
    except (httpx2.HTTPError, OSError, RuntimeError, errors.HFValidationError) as error:  # RuntimeError: from hf_xet
        raise InputError(_problem(error, repo_id, filename) + (f", {remedy}." if remedy else ".")) from error


def backbone_file(location: str | None, repo_id: str | None) -> Path:
    """The file with the weights of a backbone.

    Args:
        location: that file, a folder with ``model.safetensors`` or ``model.ckpt``, or None for the hub.
        repo_id: the repository on the hub; None: it is not published there.

    Raises:
        InputError: the file is not there or cannot be fetched.
    """
    if location is None and repo_id is not None:
        return hub_file(repo_id, "model.safetensors", remedy="or give its folder with paths.stable_audio_open=FOLDER")
    if location is None:
        raise InputError("The backbone has no weights; give backbone.weights=FILE, or backbone.random_weights=true.")
    path = Path(location)
    for file in (path, path / "model.safetensors", path / "model.ckpt"):
        if file.is_file():
            return file
    remedy = "check backbone.weights"
    if repo_id is not None:
        command = f"hf download {repo_id} model_config.json model.safetensors --local-dir FOLDER"
        remedy = f"get one with `{command}` and give paths.stable_audio_open=FOLDER"
    raise InputError(
        f"{path} {'holds neither' if path.is_dir() else 'does not exist'}; expected a file with weights, or a folder "
        f"with model.safetensors or model.ckpt: {remedy}."
    )


def read_model_config(folder: Path) -> dict[str, Any]:
    """The ``model_config.json`` of a latent diffusion model, in the format of stable-audio-tools.

    Raises:
        InputError: it is missing or not JSON, or lacks what describes the model.
    """
    path = folder / "model_config.json"
    remedy = f"get it with `hf download stabilityai/stable-audio-open-1.0 {path.name} --local-dir {folder}`."
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({_reason(error)}); expected the model in JSON: {remedy}") from error
    if problem := _fault(config):
        raise InputError(f"{path} {problem}; expected the format of stable-audio-tools: {remedy}")
    return config


def _fault(config: Any) -> str | None:
    """What is wrong with a description of a model, as far as its parts depend on each other."""

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


def _problem(error: Exception, repo_id: str, filename: str) -> str:
    """What kept a file from being had and what to do: a sentence without its full stop."""
    file, cache, reason = f"{filename} of {repo_id}", f"the cache {constants.HF_HUB_CACHE}", _reason(error)
    download = f"`hf download {repo_id} {filename} --local-dir FOLDER`"
    by_hand = f"(on a machine with network, {download} gets the file, to be copied here and named by its path)"
    elsewhere = "name another folder with `export HF_HUB_CACHE=FOLDER`"
    if isinstance(error, errors.HfHubHTTPError):
        return _refusal(error, repo_id, filename)
    if isinstance(error, errors.HFValidationError):
        return f"{repo_id} is no repository of the hub; expected OWNER/NAME, as in https://huggingface.co/OWNER/NAME"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{file} is not in {cache} and HF_HUB_OFFLINE=1 forbids its download: unset it {by_hand}"
    if isinstance(error, UNREACHABLE):
        return f"{file} is not cached and there is no network to {constants.ENDPOINT} ({reason}): check it {by_hand}"
    if "No space left" in str(error):  # hf_xet says it in a RuntimeError
        return f"{file} does not fit in {cache} ({reason}): make room, or {elsewhere}"
    if isinstance(error, OSError) and error.errno:
        return f"{file} cannot be written to {cache} ({reason}): {elsewhere}"
    return f"The download of {file} broke off ({reason}): run the same command again"


def _refusal(error: errors.HfHubHTTPError, repo_id: str, filename: str) -> str:
    """The same for a request that the hub answers with an error."""
    page, login = f"https://huggingface.co/{repo_id}", "log in with `hf auth login`"
    token = "authorization" in error.response.request.headers
    if token and error.response.status_code == 401:
        return f"The hub does not know your token (401 for {repo_id}): {login} again, or correct HF_TOKEN if it is set"
    if isinstance(error, errors.GatedRepoError):
        who = "with the account that your token belongs to" if token else f"and {login}, since you are not logged in"
        return f"{repo_id} is gated: accept its licence at {page} {who}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{repo_id} is not on the hub, or private: check {page} and {login}"
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return f"{repo_id} has no file {filename}: see {page}/tree/main for those it has"
    return f"The hub refuses {filename} of {repo_id} ({_reason(error)}): try again later, or check your token's rights"


def _reason(error: Exception) -> str:
    """The first sentence of an error's text."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return re.split(r"\.?\n|\. ", text.strip() or type(error).__name__)[0].rstrip(".")
