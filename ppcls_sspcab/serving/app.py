"""The service as an ASGI application: its routes, what guards them, and what errors become."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from ppcls_sspcab.errors import UserError
from ppcls_sspcab.serving.access import Access, Role, Tokens
from ppcls_sspcab.serving.batcher import QueueFull
from ppcls_sspcab.serving.inspections.record import StorageError
from ppcls_sspcab.serving.limits import LimitRequests, Limits
from ppcls_sspcab.serving.retention import swept
from ppcls_sspcab.serving.routes import health, inspections, open_inference, paddlex, v1
from ppcls_sspcab.serving.service import Service
from ppcls_sspcab.serving.watch import Watch
from ppcls_sspcab.version import __version__

RETRY_SECONDS = "1"
_OPEN = ("/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready")


def create_app(service: Service, tokens: Tokens | None = None) -> FastAPI:
    """The application over an open service, which it closes when it stops.

    Args:
        tokens: who may ask; None: everybody on this machine.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with swept(service):
            yield
        await run_in_threadpool(service.close)

    app = FastAPI(
        title="ppcls_sspcab",
        version=__version__,
        description="Visual anomaly detection: pictures in, verdicts out, each on disk before.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    for routes in (v1, inspections, open_inference, paddlex, health):
        app.include_router(routes.router(service))
    _handle_errors(app, service)
    settings = service.settings
    limits = Limits(
        body_bytes=settings.body_bytes,
        body_seconds=settings.seconds,
        rate=settings.rate,
        answer_seconds=settings.seconds,
    )
    # The last one added is the first one asked.
    app.add_middleware(Access, tokens=tokens, role_needed=role_needed)
    app.add_middleware(LimitRequests, limits=limits)
    app.add_middleware(Watch, metrics=service.metrics)
    return app


def role_needed(method: str, path: str) -> Role | None:
    """``operate`` judges pictures, ``read`` looks; whether the service is well is no secret."""
    if path in _OPEN:
        return None
    return "read" if method in ("GET", "HEAD", "OPTIONS") else "operate"


def _handle_errors(app: FastAPI, service: Service) -> None:
    @app.exception_handler(QueueFull)
    async def full(request: Request, error: QueueFull) -> JSONResponse:
        return _problem(503, "too many pictures wait: ask again", {"Retry-After": RETRY_SECONDS})

    @app.exception_handler(StorageError)
    async def not_stored(request: Request, error: StorageError) -> JSONResponse:
        service.metrics.not_stored()
        text = f"the verdict could not be stored, so there is none: {error}"
        return _problem(503, text, {"Retry-After": RETRY_SECONDS})

    @app.exception_handler(UserError)
    async def unable(request: Request, error: UserError) -> JSONResponse:
        return _problem(503, str(error))

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        found = error.errors()[0]
        where = ".".join(str(part) for part in found["loc"])
        return _problem(400, f"{where}: {found['msg']}")

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        return _problem(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> JSONResponse:
        return _problem(
            500, "an error of the service, whose log has it; the picture was not judged"
        )


def _problem(status: int, text: str, headers: object = None) -> JSONResponse:
    return JSONResponse({"error": text}, status, headers)  # type: ignore[arg-type]
