"""Files of the Hugging Face hub, from the local cache or by download, and one-sentence errors for all failures."""

import re
from pathlib import Path

import httpx2
from huggingface_hub import constants, errors, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

from common.errors import InputError

UNREACHABLE = (httpx2.ConnectError, httpx2.TimeoutException, httpx2.ProxyError, errors.LocalEntryNotFoundError)


def hub_file(repo_id: str, filename: str, *, remedy: str = "") -> Path:
    """Return a file of the hub: from the local cache without any request, or downloaded with the user's token.

    Args:
        repo_id: ``owner/name``.
        filename: path of the file in the repository.
        remedy: end of the sentence of every error, such as "or give a local file with paths.cavp=FILE".

    Returns:
        Path of the file in the cache of huggingface_hub, where it appears only when it is complete.

    Raises:
        InputError: the file is not cached and cannot be downloaded: no network, no access, no such file, or a full
            disk.
    """
    try:
        cached = try_to_load_from_cache(repo_id, filename)
        if isinstance(cached, str):
            return Path(cached)
        # One request without retries: without network, hf_hub_download alone would retry for minutes.
        get_hf_file_metadata(hf_hub_url(repo_id, filename), timeout=constants.HF_HUB_ETAG_TIMEOUT)
        return Path(hf_hub_download(repo_id, filename))
    except (httpx2.HTTPError, OSError, RuntimeError, errors.HFValidationError) as error:  # RuntimeError: from hf_xet
        raise InputError(_problem(error, repo_id, filename) + (f", {remedy}." if remedy else ".")) from error


def _problem(error: Exception, repo_id: str, filename: str) -> str:
    """Return the reason why a file is not available and a remedy: a sentence without its full stop."""
    file, cache, reason = f"{filename} of {repo_id}", f"the cache {constants.HF_HUB_CACHE}", first_sentence(error)
    download = f"`hf download {repo_id} {filename} --local-dir FOLDER`"
    by_hand = f"(or run {download} on a machine with network, copy the file here and give its path)"
    elsewhere = "name another folder with `export HF_HUB_CACHE=FOLDER`"
    if isinstance(error, errors.HfHubHTTPError):
        return _refusal(error, repo_id, filename)
    if isinstance(error, errors.HFValidationError):
        return f"{repo_id} is not a repository of the hub; expected OWNER/NAME, as in https://huggingface.co/OWNER/NAME"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{file} is not in {cache} and HF_HUB_OFFLINE=1 forbids its download: unset it {by_hand}"
    if isinstance(error, UNREACHABLE):
        return f"{file} is not cached and there is no network to {constants.ENDPOINT} ({reason}): check it {by_hand}"
    if "No space left" in str(error):  # hf_xet raises a RuntimeError
        return f"{file} does not fit in {cache} ({reason}): make room, or {elsewhere}"
    if isinstance(error, OSError) and error.errno:
        return f"{file} cannot be written to {cache} ({reason}): {elsewhere}"
    return f"The download of {file} broke off ({reason}): run the same command again"


def _refusal(error: errors.HfHubHTTPError, repo_id: str, filename: str) -> str:
    """Return the sentence for a request that the hub answered with an error, like `_problem`."""
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
        return f"{repo_id} has no file {filename}: see {page}/tree/main for its files"
    reason = first_sentence(error)
    return f"The hub refuses {filename} of {repo_id} ({reason}): try again later, or check your token's rights"


def first_sentence(error: Exception) -> str:
    """Return the first sentence of an error's text."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return re.split(r"\.?\n|\. ", text.strip() or type(error).__name__)[0].rstrip(".")
