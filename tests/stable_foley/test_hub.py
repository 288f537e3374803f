"""Files of the hub against a small server that answers like it, and the folder of Stable Audio Open."""

import json
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants
from omegaconf import OmegaConf

from common.errors import InputError
from stable_foley.hub import backbone_file, hub_file, read_model_config
from training.config import compose

CONTENT = bytes(range(256)) * 64
FILE = "model.safetensors"
REMEDY = "or give a local file with paths.cavp=FILE"
BY_HAND = "`hf download {} model.safetensors --local-dir FOLDER`"


class Answer(BaseHTTPRequestHandler):
    """What the hub answers for a file; what is special about a repository is in its name."""

    def do_HEAD(self):
        self.server.requests.append((self.command, self.path))
        repo, _, filename = self.path.strip("/").partition("/resolve/main/")
        account = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if repo == "owner/slow":
            self.server.stopped.wait()
        elif account not in ("", "accepted", "new"):
            self.fail(401, "", "Invalid credentials in Authorization header")
        elif repo == "owner/gated" and account != "accepted":
            self.fail(403 if account else 401, "GatedRepo", f"Access to model {repo} is restricted.")
        elif repo == "owner/fine-grained":
            self.fail(403, "", "Please enable access to gated repositories in your token settings.")
        elif repo == "owner/busy":
            self.fail(503, "", "")
        elif not filename or repo == "owner/missing":
            self.fail(404 if account else 401, "RepoNotFound", "Invalid username or password.")
        elif filename not in self.server.files:
            self.fail(404, "EntryNotFound", "Entry not found")
        else:
            self.send(repo)

    do_GET = do_POST = do_HEAD  # noqa: N815

    def send(self, repo):
        get = self.command == "GET"
        body = CONTENT[: len(CONTENT) // 2] if get and repo in self.server.cut else CONTENT
        self.send_response(200)
        self.send_header("ETag", '"0123abcd"')
        self.send_header("Content-Length", len(body if repo == "owner/short" else CONTENT))
        if repo != "owner/portal":
            self.send_header("X-Repo-Commit", "c" * 40)
        if repo == "owner/xet":  # the storage of large files, whose server is not there
            address = f"http://127.0.0.1:{self.server.server_port}"
            self.send_header("X-Xet-Hash", "b" * 64)
            self.send_header("X-Xet-Refresh-Route", f"{address}/owner/xet/resolve/main/{FILE}")
            self.send_header("X-Xet-Cas-Url", address)
            self.send_header("X-Xet-Access-Token", "x")
            self.send_header("X-Xet-Token-Expiration", str(int(time.time()) + 3600))
        self.end_headers()
        if get:
            self.wfile.write(body)

    def fail(self, status, code, message):
        self.send_response(status)
        self.send_header("X-Repo-Commit", "c" * 40)
        self.send_header("Content-Length", 0)
        if code:
            self.send_header("X-Error-Code", code)
        if message:
            self.send_header("X-Error-Message", message)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The server, its endpoint and an empty cache in place of the user's, and nobody logged in."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.files, server.cut, server.requests = {FILE}, {"owner/short", "owner/cut"}, []
    server.stopped, server.cache = threading.Event(), tmp_path / "hub"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def stop():
        server.stopped.set()
        server.shutdown()
        thread.join()
        server.server_close()

    server.stop = stop
    point_to(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    for name, value in {
        "HF_HUB_CACHE": str(server.cache),
        "HF_TOKEN_PATH": str(tmp_path / "token"),
        "HF_STORED_TOKENS_PATH": str(tmp_path / "stored_tokens"),
        "HF_XET_CACHE": str(tmp_path / "xet"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": False,
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": False,
    }.items():
        monkeypatch.setattr(constants, name, value)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    close_session()
    yield server
    close_session()
    if not server.stopped.is_set():
        stop()


def point_to(monkeypatch, endpoint):
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")


def refusal(hub, repo_id, filename=FILE):
    """The error's sentence without the remedy of the caller, after which nothing may lie under a final name."""
    with pytest.raises(InputError) as caught:
        hub_file(repo_id, filename, remedy=REMEDY)
    message = str(caught.value)
    assert message.endswith(f", {REMEDY}.")
    assert not re.search(r"[\n\r]|\. ", message)
    kept = [p for p in hub.cache.rglob("*") if {"blobs", "snapshots"} & set(p.parts) and not p.is_dir()]
    assert kept == []
    return message.removesuffix(f", {REMEDY}.")


def test_a_file_is_downloaded_once(hub):
    path = hub_file("owner/open", FILE)
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(hub.cache)
    assert path.name == FILE
    hub.stop()
    assert hub_file("owner/open", FILE) == path


def test_a_cached_file_needs_no_hub(hub, monkeypatch):
    path = hub_file("owner/open", FILE)
    n_requests = len(hub.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub_file("owner/open", FILE) == path
    assert len(hub.requests) == n_requests


def test_a_gated_repository_takes_a_token_and_an_accepted_licence(hub, monkeypatch):
    assert refusal(hub, "owner/gated") == (
        "owner/gated is gated: accept its licence at https://huggingface.co/owner/gated and log in with "
        "`hf auth login`, since you are not logged in"
    )
    monkeypatch.setenv("HF_TOKEN", "new")
    assert refusal(hub, "owner/gated") == (
        "owner/gated is gated: accept its licence at https://huggingface.co/owner/gated with the account that "
        "your token belongs to"
    )
    monkeypatch.setenv("HF_TOKEN", "revoked")
    assert refusal(hub, "owner/gated") == (
        "The hub does not know your token (401 for owner/gated): log in with `hf auth login` again, or correct "
        "HF_TOKEN if it is set"
    )
    monkeypatch.delenv("HF_TOKEN")
    Path(constants.HF_TOKEN_PATH).write_text("accepted")  # where `hf auth login` puts it
    assert hub_file("owner/gated", FILE).read_bytes() == CONTENT


@pytest.mark.parametrize("token", ["", "accepted"])
def test_a_repository_that_does_not_exist(hub, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    assert refusal(hub, "owner/missing") == (
        "owner/missing is not on the hub, or private: check https://huggingface.co/owner/missing and log in with "
        "`hf auth login`"
    )


def test_a_name_that_no_repository_can_have(hub):
    message = refusal(hub, "owner/open/model")
    assert message.startswith("owner/open/model ")
    assert "expected OWNER/NAME, as in https://huggingface.co/OWNER/NAME" in message
    assert hub.requests == []


def test_a_file_that_the_repository_lacks_until_it_is_added(hub):
    message = refusal(hub, "owner/open", "model.ckpt")
    assert message.startswith("owner/open has no file model.ckpt: see https://huggingface.co/owner/open/tree/main ")
    hub.files.add("model.ckpt")
    assert hub_file("owner/open", "model.ckpt").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("repo_id", "reason"),
    [
        ("owner/fine-grained", "403 Forbidden: Please enable access to gated repositories in your token settings"),
        ("owner/busy", "Server error '503 Service Unavailable' for url"),
    ],
)
def test_any_other_answer_is_named_after_one_request(hub, repo_id, reason):
    message = refusal(hub, repo_id)
    assert message.startswith(f"The hub refuses {FILE} of {repo_id} ({reason}")
    assert message.endswith("): try again later, or check your token's rights")
    assert [path for _, path in hub.requests].count(f"/{repo_id}/resolve/main/{FILE}") == 1


def test_offline_without_the_file(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    message = refusal(hub, "owner/open")
    assert message.startswith(f"{FILE} of owner/open is not in the cache {hub.cache} and HF_HUB_OFFLINE=1 ")
    assert BY_HAND.format("owner/open") in message
    assert hub.requests == []


@pytest.mark.parametrize("cause", ["refused", "name", "silent"])
def test_no_network_is_said_at_once(hub, monkeypatch, cause):
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
    if cause == "refused":
        hub.stop()
    elif cause == "name":
        monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
        point_to(monkeypatch, "http://hub.invalid")
    repo_id = "owner/slow" if cause == "silent" else "owner/open"
    start_s = time.monotonic()
    message = refusal(hub, repo_id)
    assert time.monotonic() - start_s < 15  # hf_hub_download by itself: 23 s and more
    reason = {"refused": "Connection refused", "name": "Name or service not known", "silent": "timed out"}[cause]
    assert re.fullmatch(
        rf"{FILE} of {repo_id} is not cached and there is no network to {constants.ENDPOINT} \(.*{reason}\): .*"
        + re.escape(BY_HAND.format(repo_id))
        + ".*",
        message,
    )


def no_such_name(*args, **kwargs):
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_something_else_answers_for_the_hub(hub):
    message = refusal(hub, "owner/portal")
    assert "there is no network to" in message
    assert "does not seem to be served by a Hugging Face Hub endpoint): check it " in message


@pytest.mark.parametrize(
    ("repo_id", "reason"),
    [
        ("owner/short", "Consistency check failed: file should be of size 16384 but has size 8192"),
        ("owner/cut", "peer closed connection without sending complete message body"),
        ("owner/xet", "Task error: File reconstruction error"),
    ],
)
def test_a_download_that_breaks_off(hub, monkeypatch, repo_id, reason):
    if repo_id == "owner/xet":
        pytest.importorskip("hf_xet")
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    message = refusal(hub, repo_id)
    assert message.startswith(f"The download of {FILE} of {repo_id} broke off ({reason}")
    assert message.endswith("): run the same command again")
    if repo_id != "owner/xet":
        hub.cut.clear()
        assert hub_file(repo_id, FILE).read_bytes() == CONTENT


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("storage", ["http", "xet"])
def test_a_full_disk(hub, monkeypatch, storage):
    def http_get(url, temp_file, **kwargs):
        try:
            Path("/dev/full").write_bytes(CONTENT)
        except OSError as error:
            raise error if storage == "http" else RuntimeError(f"Task error: {error.strerror} (os error 28)") from None

    monkeypatch.setattr("huggingface_hub.file_download.http_get", http_get)
    message = refusal(hub, "owner/open")
    assert message.startswith(f"{FILE} of owner/open does not fit in the cache {hub.cache} (")
    assert message.endswith("): make room, or name another folder with `export HF_HUB_CACHE=FOLDER`")


def test_a_cache_that_cannot_be_written(hub, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    assert refusal(hub, "owner/open") == (
        f"{FILE} of owner/open cannot be written to the cache {tmp_path / 'file' / 'hub'} (Not a directory): "
        "name another folder with `export HF_HUB_CACHE=FOLDER`"
    )


def test_no_remedy_leaves_a_whole_sentence(hub):
    with pytest.raises(InputError, match=r" log in with `hf auth login`\.$"):
        hub_file("owner/missing", FILE)


def test_stable_audio_open_is_a_file_or_in_a_folder(tmp_path):
    checkpoint, safetensors = tmp_path / "model.ckpt", tmp_path / FILE
    checkpoint.touch()
    assert backbone_file(str(tmp_path), "owner/open") == checkpoint
    safetensors.touch()
    assert backbone_file(str(tmp_path), "owner/open") == safetensors
    assert backbone_file(str(checkpoint), "owner/open") == checkpoint


def test_stable_audio_open_comes_from_the_hub(hub):
    assert backbone_file(None, "owner/open").read_bytes() == CONTENT
    with pytest.raises(InputError, match=r"gated.*, or give its folder with paths\.stable_audio_open=FOLDER\.$"):
        backbone_file(None, "owner/gated")


@pytest.mark.parametrize(("name", "problem"), [("", "holds neither"), ("moved", "does not exist")])
def test_stable_audio_open_is_not_there(tmp_path, name, problem):
    with pytest.raises(InputError) as caught:
        backbone_file(str(tmp_path / name), "stabilityai/stable-audio-open-1.0")
    assert str(caught.value) == (
        f"{tmp_path / name} {problem}; expected a file with weights, or a folder with model.safetensors or model.ckpt: "
        "get one with `hf download stabilityai/stable-audio-open-1.0 model_config.json model.safetensors "
        "--local-dir FOLDER` and give paths.stable_audio_open=FOLDER (infer.py: after --set)."
    )


@pytest.fixture
def model_config():
    """A description in the format of stable-audio-tools, that of the debug model."""
    return OmegaConf.to_container(compose("backbone=debug").backbone.model_config)


def test_a_model_config_is_read(tmp_path, model_config):
    (tmp_path / "model_config.json").write_text(json.dumps(model_config))
    assert read_model_config(tmp_path) == model_config


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("sample_rate", None, "no whole number above 0 as sample_rate"),
        ("model", "x", "no whole number above 0 as model.diffusion.config.io_channels"),
        ("model.diffusion.config", [1], "no whole number above 0 as model.diffusion.config.io_channels"),
        ("model.diffusion.config.num_heads", 0, "no whole number above 0 as model.diffusion.config.num_heads"),
        ("model.diffusion.config.num_heads", 3, "num_heads that do not divide"),
        ("model.diffusion.config.embed_dim", "64", "no whole number above 0 as model.diffusion.config.embed_dim"),
        ("model.diffusion.config._target_", "os.getcwd", "a key '_target_'"),
        ("model.diffusion.config.transformer_type", "${trainer}", "a reference"),
        ("model.pretransform.type", "mel", "type that is not 'autoencoder'"),
        ("model.pretransform.config.bottleneck", {}, "bottleneck.type that is not 'vae'"),
        ("model.pretransform.config.latent_dim", 32, "latent_dim other than"),
        ("model.pretransform.config.downsampling_ratio", 1024, "downsampling_ratio other than"),
        ("model.pretransform.config.encoder.config.strides", 2, "no list of whole numbers"),
    ],
)
def test_a_model_config_that_cannot_be_built_is_refused(tmp_path, model_config, key, value, problem):
    *parents, last = key.split(".")
    part = model_config
    for parent in parents:
        part = part[parent]
    part[last] = value
    (tmp_path / "model_config.json").write_text(json.dumps(model_config))
    with pytest.raises(InputError, match=re.escape(problem)):
        read_model_config(tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read (No such file or directory); expected the model in JSON"),
        (b"{", "cannot be read (Expecting property name enclosed in double quotes: line 1 column 2 (char 1)); "),
        (b"\xff\xfe", "cannot be read ('utf-8' codec can't decode byte 0xff in position 0: invalid start byte); "),
        (
            b"[]",
            "has no whole number above 0 as model.diffusion.config.io_channels; expected the format",
        ),
        (b"[" * 100_000, "cannot be read (maximum recursion depth exceeded"),
    ],
)
def test_a_model_config_that_is_none(tmp_path, content, problem):
    path = tmp_path / "model_config.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(InputError) as caught:
        read_model_config(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{path} {problem}")
    assert message.endswith(
        f": get it with `hf download stabilityai/stable-audio-open-1.0 model_config.json --local-dir {tmp_path}`."
    )
    assert not re.search(r"[\n\r]|\. ", message)


def test_a_backbone_without_place_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no weights; give backbone\.weights=FILE"):
        backbone_file(None, None)
    with pytest.raises(InputError, match=r"does not exist; .*: check backbone\.weights\.$"):
        backbone_file(str(tmp_path / "moved"), None)
