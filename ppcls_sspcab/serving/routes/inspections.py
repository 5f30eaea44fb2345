"""``/v1/inspections``: what was judged, by query."""

from __future__ import annotations

import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Response
from fastapi import Path as PathParameter
from fastapi import Query as Parameter
from pydantic import BaseModel
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, StreamingResponse

from ppcls_sspcab.errors import UserError
from ppcls_sspcab.serving.inspections.log import Query
from ppcls_sspcab.serving.inspections.record import Inspection
from ppcls_sspcab.serving.routes.answers import (
    InspectionAnswer,
    Verdict,
    answer_of,
    problems,
)
from ppcls_sspcab.serving.service import Service

PAGE = 100
Text = Annotated[str | None, Parameter(max_length=200)]
Id = Annotated[str, PathParameter(pattern="^[0-9a-f]{32}$")]


class Inspections(BaseModel):
    """A page of inspections, newest first; ``after`` asks for the next one, null at the end."""

    inspections: list[InspectionAnswer]
    after: str | None


class Counts(BaseModel):
    """How many inspections have each verdict."""

    good: int
    anomalous: int
    unjudged: int


def asked(
    model: Text = None,
    station: Text = None,
    serial: Text = None,
    verdict: Verdict | None = None,
    sha256: Text = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Query:
    """The inspections that a request asks for; times without a zone are UTC."""
    return Query(
        model=model,
        station=station,
        serial=serial,
        verdict=verdict,
        sha256=sha256,
        since=_utc(since),
        until=_utc(until),
    )


Asked = Annotated[Query, Depends(asked)]


def router(service: Service) -> APIRouter:
    """The routes below ``/v1/inspections``."""
    routes = APIRouter(prefix="/v1/inspections", tags=["inspections"])

    @routes.get("", responses=problems(400))
    def page(
        query: Asked, limit: Annotated[int, Parameter(ge=1, le=1000)] = PAGE, after: Text = None
    ) -> Inspections:
        """Lists inspections, newest first."""
        start = None
        if after is not None:
            row = service.log.get(after)
            if row is None:
                raise HTTPException(400, f"after: there is no inspection {after!r}")
            start = row.time, row.id
        found = service.log.find(query, limit, start)
        following = found[-1].id if len(found) == limit else None
        return Inspections(inspections=[answer_of(one) for one in found], after=following)

    @routes.get("/counts", responses=problems())
    def counts(query: Asked) -> Counts:
        """Counts inspections by verdict."""
        return Counts(**service.log.count(query))

    _add_exports(routes, service)

    @routes.get("/{id}", responses=problems(404))
    def one(id: Id) -> InspectionAnswer:
        """One inspection."""
        return answer_of(_found(service, id))

    @routes.get("/{id}/picture", response_class=Response, responses=problems(404))
    def picture(id: Id) -> Response:
        """The picture as it was sent, where it was kept."""
        row = _found(service, id)
        if not row.picture or service.store is None:
            raise HTTPException(404, "the picture was not kept, or has been removed since")
        try:
            path = service.store.open_path(row.picture)
        except UserError as error:
            raise HTTPException(404, str(error)) from None
        return FileResponse(path, media_type="application/octet-stream", filename=path.name)

    return routes


def _add_exports(routes: APIRouter, service: Service) -> None:
    @routes.get("/export.csv", response_class=Response, responses=problems())
    def csv(query: Asked) -> Response:
        """All that match as CSV, oldest first."""
        return StreamingResponse(
            service.log.csv(query),
            media_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": "attachment; filename=inspections.csv"},
        )

    @routes.get("/export.parquet", response_class=Response, responses=problems())
    def parquet(query: Asked) -> Response:
        """All that match as Parquet, oldest first."""
        with tempfile.NamedTemporaryFile(suffix=".parquet", delete=False) as file:
            path = Path(file.name)
        try:
            service.log.parquet(query, path)
        except BaseException:
            path.unlink()
            raise
        return FileResponse(
            path,
            media_type="application/vnd.apache.parquet",
            filename="inspections.parquet",
            background=BackgroundTask(path.unlink),
        )


def _found(service: Service, id: str) -> Inspection:
    row = service.log.get(id)
    if row is None:
        raise HTTPException(404, f"there is no inspection {id}")
    return row


def _utc(time: datetime | None) -> datetime | None:
    return time.replace(tzinfo=timezone.utc) if time is not None and time.tzinfo is None else time
