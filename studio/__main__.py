"""See, hear and shape the sound of a video in a browser: ``python studio.py``.

Opens a page on this machine on which hits are dragged, regions redone, tracks mixed and results exported. Sessions stay
in a folder, and can be opened with ``python -m session`` too.
"""

if __name__ == "__main__":  # before the slow imports
    from common.errors import end_on_interrupt

    end_on_interrupt()

import argparse
import logging
import secrets
import socket
import threading
import webbrowser
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import uvicorn

from common.choices import SAMPLING_DTYPES
from common.errors import InputError, check_range, user_errors
from common.files import check_writable_folder, locked
from common.options import add_device, add_dtype, add_number, add_set, command_parser
from studio.app import create_app
from studio.library import GIB, Library
from studio.server import StudioSettings
from studio.worker import ModelChoice

log = logging.getLogger("studio")
DEFAULT_PORT = 8765


def build_parser() -> argparse.ArgumentParser:
    """Return all options, with their defaults."""
    parser = command_parser("python studio.py", __doc__)
    add = parser.add_argument
    add("--port", type=int, default=DEFAULT_PORT, help="port to listen on; 0: any free one")
    add("--host", default="127.0.0.1", help="address to listen on; any other than this machine's own needs a token")
    add("--no-browser", action="store_true", help="print the address only, and open no browser")
    add("--folder", type=Path, default=Path("outputs/studio"), help="folder of the sessions")
    add("--checkpoint", type=Path, metavar="FILE", help="checkpoint (default: the bundled mini)")
    add("--video2rms", type=Path, metavar="FILE", help="checkpoint of Video2RMS (default: the bundled one)")
    add_device(parser)
    add_dtype(parser, SAMPLING_DTYPES)
    add_set(parser)
    add_number(parser, "--longest", 1, 36_000, default=600, help="longest video in seconds")
    add_number(parser, "--most-upload-mib", 1, 100_000, default=2048, help="largest file that is taken, in MiB")
    add_number(parser, "--most-gib", 1, 100_000, default=20, help="disk space for all sessions, in GiB")
    return parser


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        InputError: The address or the port cannot be used.
    """
    check_range("--port", port, 0, 65_535, whole=True)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen()  # so that who opens the address at once waits for the server
    except OSError as error:
        found.close()
        reason = error.strerror or str(error)
        raise InputError(f"--host {host} --port {port} cannot be used ({reason}): give others, or --port 0") from None
    return found


def is_local(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(settings: StudioSettings, listener: socket.socket) -> None:
    """Serve until an interrupt.

    Raises:
        InputError: The models cannot be loaded.
    """
    problems: list[str] = []

    def end(sentence: str) -> None:
        problems.append(sentence)
        server.should_exit = True

    app = create_app(replace(settings, on_unable=end))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
    server.run(sockets=[listener])
    if problems:
        raise InputError(problems[0])


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the studio until it is interrupted."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args = build_parser().parse_args(arguments)
    for option, path in (("--checkpoint", args.checkpoint), ("--video2rms", args.video2rms)):
        if path is not None and not path.is_file():
            raise InputError(f"{option} {path} does not exist: give a checkpoint")
    check_writable_folder(args.folder, "--folder")
    args.folder.mkdir(parents=True, exist_ok=True)
    token = None if is_local(args.host) else secrets.token_urlsafe(24)
    with locked(args.folder / ".lock"), listening(args.host, args.port) as listener:
        port = listener.getsockname()[1]
        hosts = [f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")] if token is None else None
        settings = StudioSettings(
            library=Library(args.folder.resolve(), round(args.most_gib * GIB)),
            choice=ModelChoice(args.checkpoint, args.video2rms, args.device, args.dtype, tuple(args.set)),
            longest_s=args.longest,
            most_upload_bytes=round(args.most_upload_mib * 2**20),
            hosts=hosts,
            token=token,
        )
        shown = f"[{args.host}]" if ":" in args.host else args.host
        address = f"http://{shown}:{port}/{'' if token is None else f'?token={token}'}"
        log.info("the studio is at %s; Ctrl-C ends it, and sessions stay in %s", address, args.folder)
        if not args.no_browser:
            threading.Timer(1.0, webbrowser.open, (address,)).start()
        serve(settings, listener)


if __name__ == "__main__":
    main()
