"""``/image-anomaly-detection``: the pipeline of that name as PaddleX's own service answers it.

Errors of this route come in PaddleX's envelope; what is refused before it is reached (a missing
token, a body that is too large or too slow) comes as ``{"error": ...}``.
"""

from __future__ import annotations

import asyncio
import base64
import io
from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from PIL import Image
from pydantic import BaseModel, Field, StrictBool
from starlette.responses import JSONResponse

from ppcls_sspcab.image.drawing import overlay
from ppcls_sspcab.serving.batcher import QueueFull
from ppcls_sspcab.serving.inspections.record import StorageError
from ppcls_sspcab.serving.inspector import Inspected, Submitted
from ppcls_sspcab.serving.models import ServedModel
from ppcls_sspcab.serving.routes.answers import Responses, problems
from ppcls_sspcab.serving.routes.requests import caller_of, from_json, model_of
from ppcls_sspcab.serving.routes.tensors import base64_file
from ppcls_sspcab.serving.service import Service

PATH = "/image-anomaly-detection"
ANOMALOUS = 255  # in a label map
JPEG_QUALITY = 90
NAME = "image"
RETRY = {"Retry-After": "1"}
READ_AT_ONCE = 2  # requests: JSON may take thirty times its bytes, and no second core


class Asked(BaseModel):
    """A picture to be judged; what PaddleX's own requests have besides is not looked at."""

    image: str = Field(description="a picture file in base64; an address is not fetched")
    visualize: StrictBool | None = Field(
        default=None, description="whether to send the overlay; null: yes, as PaddleX does"
    )
    model: str | None = Field(default=None, description="needed where several are served")


class Found(BaseModel):
    """PaddleX's result, and the verdict, which it has not."""

    labelMap: list[int] | None = Field(
        description="row by row, 255 where a pixel is above the pixel threshold and 0 elsewhere; "
        "null of a model that makes no maps"
    )
    size: tuple[int, int] = Field(description="height and width of the map: the network's")
    image: str | None = Field(
        description="the picture at that size with its map painted over it, a JPEG in base64; "
        "null where it is not wanted, or there is no map"
    )
    score: float
    normalizedScore: float
    threshold: float
    isAnomaly: bool
    id: str


class Success(BaseModel):
    """PaddleX's envelope of a result."""

    logId: str
    errorCode: Literal[0] = 0
    errorMsg: Literal["Success"] = "Success"
    result: Found


class Failed(BaseModel):
    """PaddleX's envelope of an error, whose code is the answer's status."""

    logId: str
    errorCode: int
    errorMsg: str


_FAILURES: Responses = {
    400: {"model": Failed, "description": "the request is malformed"},
    404: {"model": Failed, "description": "there is no such model"},
    422: {"model": Failed, "description": "the picture could not be judged; its row is stored"},
    503: {"model": Failed, "description": "busy, or the verdict could not be stored; ask again"},
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": Asked.model_json_schema()}},
    }
}


def router(service: Service) -> APIRouter:
    """The one route."""
    routes = APIRouter(tags=["paddlex"])
    reading = asyncio.Semaphore(READ_AT_ONCE)

    @routes.post(
        PATH,
        response_model=Success,
        responses={**problems(), **_FAILURES},
        openapi_extra=_BODY,
    )
    async def infer(
        request: Request,
        model: Annotated[str, Query(description="as in the body")] = "",
    ) -> Response:
        """Judges one picture."""
        try:
            body = await request.body()
            async with reading:
                asked, content = await run_in_threadpool(_read, body)
            chosen = _chosen(service, model or asked.model or "")
            found = await _infer(service, request, chosen, content, asked.visualize is not False)
        except HTTPException as error:
            return _failed(request, error.status_code, str(error.detail))
        except QueueFull:
            return _failed(request, 503, "too many pictures wait: ask again")
        except StorageError as error:
            service.metrics.not_stored()
            text = f"the verdict could not be stored, so there is none: {error}"
            return _failed(request, 503, text)
        answer = Success(logId=request.state.request_id, result=found)
        return Response(answer.model_dump_json(), media_type="application/json")

    return routes


def _failed(request: Request, code: int, text: str) -> Response:
    envelope = Failed(logId=request.state.request_id, errorCode=code, errorMsg=text)
    return JSONResponse(envelope.model_dump(), code, RETRY if code == 503 else None)


async def _infer(
    service: Service, request: Request, model: ServedModel, content: bytes, visualize: bool
) -> Found:
    pictures = [Submitted(content, NAME)]
    (found,) = await service.inspector.inspect(model, pictures, caller_of(request))
    if found.inspection.verdict == "unjudged":
        raise HTTPException(422, f"the picture could not be judged: {found.inspection.error}")
    most = service.settings.most_pixels
    return await run_in_threadpool(_result, model, found, content if visualize else None, most)


def _read(body: bytes) -> tuple[Asked, bytes]:
    """The request and its picture file. Raises HTTPException: 400."""
    asked = from_json(Asked, body)
    if asked.image[:8].lower().startswith(("http://", "https://")):
        raise HTTPException(400, "image: addresses are not fetched: send the file in base64")
    try:
        return asked, base64_file(asked.image)
    except ValueError as error:
        raise HTTPException(400, f"image: {error}") from None


def _chosen(service: Service, name: str) -> ServedModel:
    """The model of that name, or the only one. Raises HTTPException: 404, or 400 for no name."""
    if name:
        return model_of(service, name)
    if len(service.models) > 1:
        names = ", ".join(service.models)
        raise HTTPException(400, f"several models are served, name one by 'model': {names}")
    return next(iter(service.models.values()))


def _result(model: ServedModel, found: Inspected, content: bytes | None, most_pixels: int) -> Found:
    """The result of a judged picture.

    Args:
        content: the picture file, for the overlay; None: without.
        most_pixels: of a picture.
    """
    row, labels, image = found.inspection, None, None
    if found.map is not None:
        labels = np.where(found.map > 0.5, ANOMALOUS, 0).ravel().tolist()
        if content is not None:
            pixels = model.predictor.card.preprocess.load(content, most_pixels)
            image = _jpeg(overlay(pixels, found.map))
    values = {
        "score": row.score,
        "normalizedScore": row.normalized_score,
        "threshold": row.threshold,
        "isAnomaly": row.is_anomaly,
        "id": row.id,
    }
    size = model.predictor.card.preprocess.image_size
    return Found.model_validate({"labelMap": labels, "size": size, "image": image, **values})


def _jpeg(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="jpeg", quality=JPEG_QUALITY)
    return base64.b64encode(buffer.getvalue()).decode()
