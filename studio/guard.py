"""Who may talk to the studio: its own page, on this machine, or with the token; and how much may be uploaded."""

import hmac
from collections.abc import Sequence
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "studio-token"
MOST_JSON_BYTES = 2**20
_UPLOADS = ("/sessions", "/sessions/open", "/files")
_CHANGING = ("POST", "PUT", "PATCH", "DELETE")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; style-src 'self' 'unsafe-inline'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class _TooLargeError(Exception):
    """More was uploaded than is allowed."""


class Guard:
    """Refuses what does not come from the studio's own page.

    Another page in the same browser can send requests here. The checks of Host (against DNS rebinding) and of Origin
    and Sec-Fetch-Site (against forged requests) keep it from reading or changing anything.

    Args:
        app: The application.
        hosts: Values of Host that are allowed; None: any, for which a token is needed.
        token: Secret that a browser must know; None: none is needed.
        most_bytes: Largest body of a request.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str] | None, token: str | None, most_bytes: int) -> None:
        self._app, self._hosts, self._token, self._most_bytes = app, hosts, token, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        most_bytes = self._most_bytes if _is_upload(scope, headers) else min(self._most_bytes, MOST_JSON_BYTES)
        refused = self._refusal(scope, headers, most_bytes)
        if refused is not None:
            await refused(scope, receive, send)
            return
        started = False
        is_too_large = [False]

        async def with_headers(message: Message) -> None:
            nonlocal started
            if is_too_large[0] and not started:
                return  # the application calls it a damaged body
            if message["type"] == "http.response.start":
                started = True
                for name, value in _HEADERS.items():
                    MutableHeaders(scope=message)[name] = value
            await send(message)

        with suppress(_TooLargeError):
            await self._app(scope, self._counted(receive, most_bytes, is_too_large), with_headers)
        if is_too_large[0] and not started:
            await self._too_large(most_bytes)(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers, most_bytes: int) -> ASGIApp | None:
        host = headers.get("host", "").lower()
        if self._hosts is not None and host not in self._hosts:
            return _error(421, f"the address {host!r} is not that of the studio: open the address that it printed")
        if self._token is not None and not self._knows_token(headers):
            given = QueryParams(scope["query_string"]).get("token", "")
            if scope["method"] == "GET" and scope["path"] == "/" and _same(given, self._token):
                return _with_cookie(self._token)
            return _error(401, "the token is missing: open the whole address that the studio printed")
        if scope["method"] in _CHANGING and not _is_own(headers, host):
            return _error(403, "this request comes from another page: use the studio's own")
        if scope["method"] == "GET" and headers.get("sec-fetch-site") == "cross-site" and scope["path"] != "/":
            return _error(403, "this request comes from another page: use the studio's own")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > most_bytes:
            return self._too_large(most_bytes)
        return None

    def _knows_token(self, headers: Headers) -> bool:
        assert self._token is not None
        # by hand: the parser of http.cookies gives up at the cookies of other programs on this host
        pairs = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
        return any(name == COOKIE and _same(value.strip('"'), self._token) for name, _, value in pairs)

    @staticmethod
    def _too_large(most_bytes: int) -> JSONResponse:
        return _error(413, f"the file or request is too large: the studio takes at most {most_bytes / 2**20:.3g} MiB")

    @staticmethod
    def _counted(receive: Receive, most_bytes: int, is_too_large: list[bool]) -> Receive:
        """Return what receives a body, up to its largest size."""
        n_bytes = 0

        async def counted() -> Message:
            nonlocal n_bytes
            message = await receive()
            n_bytes += len(message.get("body", b""))
            if n_bytes > most_bytes:
                is_too_large[0] = True
                raise _TooLargeError
            return message

        return counted


def _is_own(headers: Headers, host: str) -> bool:
    """Return whether a request comes from the page of this host, or from no browser."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or origin.lower() == f"http://{host}"


def _is_upload(scope: Scope, headers: Headers) -> bool:
    """Return whether a request brings a file."""
    return headers.get("content-type", "").startswith("multipart/form-data") and scope["path"].endswith(_UPLOADS)


def _same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode())


def _error(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status)


def _with_cookie(token: str) -> RedirectResponse:
    """Return an answer that keeps the token in the browser, out of reach of scripts and of the address bar."""
    response = RedirectResponse("/", 303)
    response.set_cookie(COOKIE, token, httponly=True, samesite="strict")
    return response
