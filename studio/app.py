"""The application: the page, its requests, and one sentence for every error."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from common.errors import InputError
from common.files import LockedError
from studio.api import router
from studio.guard import Guard
from studio.jobs import QueueFullError, for_page
from studio.pictures import PreviewError
from studio.server import Studio, StudioSettings

PAGE = Path(__file__).parent / "page"
_MULTIPART_BYTES = 2**16
_LONGEST_PLACE = 80  # characters of a name that a request made up
_NEVER = {"Cache-Control": "no-cache"}


def create_app(settings: StudioSettings) -> FastAPI:
    """Return the application, which starts and ends its worker process.

    Args:
        settings: How it is set up.
    """
    studio = Studio(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        studio.library.folder.mkdir(parents=True, exist_ok=True)
        studio.library.clean()
        studio.jobs.start()
        yield
        studio.jobs.close()

    app = FastAPI(title="Stable-Video2Audio studio", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.studio = studio
    app.include_router(router, prefix="/api")
    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    app.add_api_route("/", lambda: FileResponse(PAGE / "index.html", headers=_NEVER), include_in_schema=False)
    _add_errors(app)
    app.add_middleware(
        Guard,
        hosts=settings.hosts,
        token=settings.token,
        most_bytes=settings.most_upload_bytes + _MULTIPART_BYTES,
    )
    return app


def _add_errors(app: FastAPI) -> None:
    """Answer every error with one sentence."""

    def answer(status: int, sentence: str) -> JSONResponse:
        return JSONResponse({"error": sentence}, status)

    def input_error(request: Request, error: Exception) -> JSONResponse:
        folder = request.app.state.studio.library.folder
        return answer(409 if isinstance(error, LockedError) else 400, for_page(str(error), folder))

    app.add_exception_handler(InputError, input_error)
    app.add_exception_handler(
        QueueFullError, lambda *_: answer(429, "too many jobs are waiting: cancel some, or wait until they are done")
    )
    app.add_exception_handler(
        PreviewError, lambda *_: answer(503, "the video is being converted so that the browser can play it")
    )

    def http_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        if error.detail != HTTPStatus(error.status_code).phrase:
            return answer(error.status_code, str(error.detail))
        sentences = {404: "there is nothing at this address", 405: f"this address takes no {request.method}"}
        return answer(error.status_code, sentences.get(error.status_code, "the request cannot be answered"))

    def not_valid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return answer(422, "the request is no JSON")
        place = ".".join(str(part) for part in first["loc"][1:]) or "the request"
        return answer(422, f"{place[:_LONGEST_PLACE]} is not possible: {first['msg']}")

    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, not_valid)
