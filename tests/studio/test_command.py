"""Starting the studio: what is refused, and who can reach it."""

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from studio.__main__ import is_local, main
from tests.conftest import REPOSITORY
from tests.studio.conftest import until

EVERYWHERE = "0.0.0.0"  # noqa: S104


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--port", "99999"], "99999"),
        (["--host", "192.0.2.1"], "192.0.2.1"),
        (["--checkpoint", "missing.safetensors"], "missing.safetensors"),
        (["--video2rms", "missing.safetensors"], "missing.safetensors"),
        (["--longest", "0"], "--longest"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused_in_one_sentence(tmp_path, capsys, words, named):
    with pytest.raises(SystemExit) as caught:
        main(["--no-browser", "--folder", str(tmp_path / "studio"), *words])
    assert caught.value.code == 2
    assert named in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_port_that_is_in_use_is_refused(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit) as caught:
        main(["--no-browser", "--folder", str(tmp_path), "--port", str(taken.getsockname()[1])])
    assert caught.value.code == 2
    assert "--port" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        (EVERYWHERE, False),
        ("192.168.1.5", False),
        ("me", False),
    ],
)
def test_which_addresses_only_this_machine_reaches(host, wanted):
    assert is_local(host) == wanted


def started(folder, *words):
    """A studio as a process of its own, and the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "studio.py", "--no-browser", "--port", "0", "--folder", str(folder), *words],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = process.stderr.readline()
    return process, re.search(r"http://\S+/(\?token=[\w-]+)?", line)


@pytest.mark.slow
def test_a_checkpoint_that_is_none_ends_the_studio_with_a_sentence(tmp_path):
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    process, _ = started(tmp_path / "studio", "--checkpoint", str(tmp_path / "broken.safetensors"))
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 2
    assert "Traceback" not in errors
    assert "broken.safetensors" in errors.splitlines()[-1]


def is_running(process_id):
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the worker in /proc")
def test_an_interrupt_ends_the_studio_and_its_worker(tmp_path):
    process, address = started(tmp_path)
    until(lambda: httpx2.get(f"{address[0]}api/about").json()["ready"])
    again = subprocess.run(
        [sys.executable, "studio.py", "--no-browser", "--port", "0", "--folder", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 2  # one studio works in a folder
    threads = Path(f"/proc/{process.pid}/task").glob("*/children")
    workers = [worker for thread in threads for worker in thread.read_text().split()]
    assert workers
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode in (0, 130)
    until(lambda: not any(is_running(worker) for worker in workers))
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(address[0])


@pytest.mark.slow
def test_an_open_studio_needs_its_token(tmp_path):
    process, address = started(tmp_path, "--host", EVERYWHERE)
    assert address[1]
    port = re.search(r":(\d+)/", address[0])[1]
    here = f"http://127.0.0.1:{port}/"

    def status(url, cookie=""):
        return httpx2.get(url, headers={"Cookie": cookie}, timeout=60).status_code

    try:
        assert status(here) == 401
        assert status(f"{here}api/sessions") == 401
        assert status(here + address[1]) == 303
        assert status(f"{here}api/sessions", f"studio-token={address[1].removeprefix('?token=')}") == 200
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
