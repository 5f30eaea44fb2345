"""Whether the service lives, whether it can judge, and what Prometheus reads."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from ppcls_sspcab.serving.metrics import CONTENT_TYPE
from ppcls_sspcab.serving.routes.answers import problems
from ppcls_sspcab.serving.service import Service


class Health(BaseModel):
    """Whether the service can judge and store, and why not."""

    ready: bool
    troubles: list[str]


def router(service: Service) -> APIRouter:
    """``/health/live``, ``/health/ready`` and ``/metrics``."""
    routes = APIRouter(tags=["health"])

    @routes.get("/health/live", responses=problems())
    async def live() -> dict[str, bool]:
        """Answers as long as the process does."""
        return {"live": True}

    @routes.get("/health/ready", responses={**problems(), 503: {"model": Health}})
    async def ready(response: Response) -> Health:
        """503 where a network failed, the database does not answer, or the service stops."""
        found = await run_in_threadpool(service.troubles)
        if found:
            response.status_code = 503
        return Health(ready=not found, troubles=found)

    @routes.get("/metrics", response_class=Response, responses=problems())
    async def metrics() -> Response:
        """Counts and times in Prometheus's text format."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    return routes
