"""The server's application: one route for photographs, and those around it."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any, Final, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from PIL import Image
from starlette.types import Message, Receive, Scope, Send

from discrepancy.export.detect import Bundle, InputError, NotAnImage, Pixels, Result
from discrepancy.serving import prometheus_metrics
from discrepancy.serving.batching import Batcher
from discrepancy.serving.options import Options
from discrepancy.serving.pictures import png
from discrepancy.serving.responses import HealthResponse, PredictionResponse, prediction_response
from discrepancy.serving.uploads import CLOSE, Upload, read_upload

T = TypeVar("T")
RETRY_SECONDS: Final = 1
SENDING_SECONDS: Final = 60.0
"""Seconds that a client may take to read its answer."""
PIECE: Final = 65_536
"""Bytes of an answer that are sent at a time."""
PAGE: Final = "page.html"
BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"image/png": {}}, "description": "The result; with `Accept: image/png` the outline."},
    400: {"description": "A broken form, or one without a file."},
    401: {"description": "No key, or a wrong one."},
    408: {"description": "The body came too slowly."},
    413: {"description": "The body is too large."},
    415: {"description": "Not an image."},
    422: {"description": "A damaged image, or one of too many pixels."},
    503: {"description": "Too many requests at once; `Retry-After` says when to come back."},
}


def create_app(options: Options | None = None) -> FastAPI:
    """Build the application.

    Args:
        options: of the server; by default those that the command has handed on.

    Raises:
        InputError: the bundle cannot be read.
    """
    options = options or Options.from_environment()
    bundle = Bundle(options.folder, threads=options.threads)
    service = Service(bundle, options)
    app = FastAPI(
        title=f"discrepancy: {bundle.title}",
        description="Find defective parts on photographs.",
        version=str(bundle.card["bundle"]["format"]),
        docs_url=None,
        redoc_url=None,
        lifespan=service.lifespan,
    )
    app.openapi_version = "3.0.3"  # the newest that the installed Swagger UI shows
    key = Depends(_key_check(options.key))
    app.add_api_route(
        "/predict",
        service.predict,
        methods=["POST"],
        summary="Examine a photograph",
        response_model=PredictionResponse,
        responses=REFUSALS,
        openapi_extra=BODY,
        dependencies=[key],
    )
    app.add_api_route(
        "/health", service.health, methods=["GET"], summary="Name the detector", response_model=HealthResponse
    )
    app.add_api_route(
        "/metrics",
        metrics,
        methods=["GET"],
        summary="Count for Prometheus",
        response_class=Response,
        dependencies=[key],
    )
    app.add_api_route("/", page, methods=["GET"], response_class=HTMLResponse, include_in_schema=False)
    _add_documentation(app)
    return app


def _key_check(expected: str) -> Callable[[Request], Awaitable[None]]:
    """Return a function that refuses requests without this key; empty: it refuses none."""

    async def check(request: Request) -> None:  # a plain function would wait for a thread
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        given = request.headers.get("x-api-key", bearer)
        if expected and not hmac.compare_digest(given.encode(), expected.encode()):
            headers = {"WWW-Authenticate": "Bearer", **CLOSE}
            raise HTTPException(401, "expected the key as X-API-Key or as a bearer token", headers)

    return check


class SlotResponse(Response):
    """A response that frees its slot once it is sent: a client that does not read takes up one slot.

    It is sent in pieces, each when the one before is on its way: of a body sent as a whole, uvicorn takes all at once.

    Args:
        inner: the response.
        release: is called when it is sent, or cannot be.
    """

    def __init__(self, inner: Response, release: Callable[[], None]) -> None:
        self.inner = inner
        self.release = release
        self.status_code = inner.status_code
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response; a client that takes too long is left."""

        async def send_pieces(message: Message) -> None:
            body = message.get("body", b"")
            for start in range(0, len(body) - PIECE, PIECE):
                await send({**message, "body": body[start : start + PIECE], "more_body": True})
            await send({**message, "body": body[(len(body) - 1) // PIECE * PIECE :]} if body else message)

        try:
            async with asyncio.timeout(SENDING_SECONDS):
                await self.inner(scope, receive, send_pieces)
        finally:
            self.release()


class Service:
    """A detector that answers requests, a limited number at a time.

    Args:
        bundle: the detector.
        options: of the server.
    """

    def __init__(self, bundle: Bundle, options: Options) -> None:
        self._bundle = bundle
        self._options = options
        self._batcher = Batcher(bundle, options.batch_size)
        self._limiter = CapacityLimiter(options.threads)  # the workers share the cores
        self._in_progress = 0

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Keep the graph at work as long as the server runs."""
        del app
        async with self._batcher:
            yield

    async def predict(self, request: Request, pictures: bool = False) -> Response:
        """Examine a photograph: a file in a form, or the body itself.

        Answers JSON, or, with `Accept: image/png`, the outline over the photograph. `pictures=true` adds outline and
        map to the JSON.
        """
        start = time.perf_counter()
        status = 500
        try:
            self._take_slot()
            try:
                found = await self._examined(request, pictures)
            except BaseException:
                self._free_slot()
                raise
            status = found.status_code
            prometheus_metrics.LATENCY.observe(time.perf_counter() - start)
            return SlotResponse(found, self._free_slot)
        except HTTPException as error:
            status = error.status_code
            raise
        finally:
            prometheus_metrics.REQUESTS.labels(str(status)).inc()

    def _take_slot(self) -> None:
        """Take one of the slots for requests in progress.

        Raises:
            HTTPException: 503 if there is none.
        """
        if self._in_progress >= self._options.waiting:
            headers = {"Retry-After": str(RETRY_SECONDS), **CLOSE}
            raise HTTPException(503, "too many requests at once", headers)
        self._in_progress += 1
        prometheus_metrics.IN_PROGRESS.inc()

    def _free_slot(self) -> None:
        self._in_progress -= 1
        prometheus_metrics.IN_PROGRESS.dec()

    async def _examined(self, request: Request, pictures: bool) -> Response:
        upload = await read_upload(request, self._options)
        size, pixels = await self._in_thread(self._opened, upload)
        scored = await self._batcher.score(pixels)
        result = self._bundle.result(upload.name, size, *scored)
        prometheus_metrics.DECISIONS.labels("anomalous" if result.anomalous else "good").inc()
        as_picture = "image/png" in request.headers.get("accept", "")
        return await self._in_thread(self._response, result, upload, as_picture, pictures)

    async def _in_thread(self, compute: Callable[..., T], *arguments: Any) -> T:
        """Compute in a thread, not in more at a time than there are cores: each may hold a decoded photograph."""
        return await run_sync(compute, *arguments, limiter=self._limiter)

    def _opened(self, upload: Upload) -> tuple[tuple[int, int], Pixels]:
        """Return (height, width) of the photograph, and the image for the graph."""
        photograph = self._photograph(upload)
        return (photograph.height, photograph.width), self._bundle.fitted(photograph)

    def _photograph(self, upload: Upload) -> Image.Image:
        try:
            return self._bundle.read(upload.content, upload.name, max_pixels=self._options.max_pixels)
        except NotAnImage as error:
            raise HTTPException(415, str(error)) from error
        except InputError as error:
            raise HTTPException(422, str(error)) from error

    def _response(self, result: Result, upload: Upload, as_picture: bool, pictures: bool) -> Response:
        if not as_picture and not pictures:
            return JSONResponse(prediction_response(result).model_dump(exclude={"overlay", "map"}))
        # Decoded once more: while it waits for the graph, a request holds the file, which is far smaller.
        overlay = result.overlay(self._photograph(upload))
        if not as_picture:
            return JSONResponse(prediction_response(result, overlay).model_dump())
        decision = "anomalous" if result.anomalous else "good"
        headers = {"X-Score": repr(result.score), "X-Threshold": repr(result.threshold), "X-Decision": decision}
        return Response(png(overlay), media_type="image/png", headers=headers)

    async def health(self) -> HealthResponse:
        """Say which detector is at work."""
        card = self._bundle.card
        return HealthResponse(
            title=self._bundle.title,
            method=card["method"],
            dataset=card.get("dataset", ""),
            category=card.get("category", ""),
            image_size=self._bundle.image_size,
            threshold=self._bundle.threshold,
        )


async def metrics() -> Response:
    """Return what was counted, in Prometheus' format."""
    return Response(prometheus_metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def page() -> HTMLResponse:
    """Return the page on which a person drops a photograph."""
    text = files("discrepancy.serving").joinpath("templates", PAGE).read_text("utf-8")
    policy = "default-src 'none'; img-src 'self' data: blob:; style-src 'unsafe-inline'; "
    policy += "script-src 'unsafe-inline'; connect-src 'self'"
    return HTMLResponse(text, headers={"Content-Security-Policy": policy})


def _add_documentation(app: FastAPI) -> None:
    """Serve the interactive documentation from files of this computer: a line has no internet."""
    from swagger_ui_bundle import swagger_ui_path

    app.mount("/docs/files", StaticFiles(directory=swagger_ui_path), name="documentation")

    async def documentation() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=app.title,
            swagger_js_url="/docs/files/swagger-ui-bundle.js",
            swagger_css_url="/docs/files/swagger-ui.css",
            swagger_favicon_url="/docs/files/favicon-32x32.png",
        )

    app.add_api_route("/docs", documentation, methods=["GET"], include_in_schema=False)
