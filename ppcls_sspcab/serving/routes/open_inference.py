"""``/v2``: the Open Inference Protocol, which clients of KServe, Triton and MLServer speak.

With the extension of binary tensors. The protocol has no place for one picture's failure, so a
request of which a picture cannot be judged fails as a whole: 422, and the error names them.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field
from starlette.datastructures import Headers

from ppcls_sspcab.serving.inspector import Inspected, Submitted
from ppcls_sspcab.serving.models import ServedModel
from ppcls_sspcab.serving.routes.answers import Problem, Responses, problems
from ppcls_sspcab.serving.routes.requests import caller_of, model_of
from ppcls_sspcab.serving.routes.tensors import (
    FILES,
    HEADER_LENGTH,
    IMAGES,
    InferAnswer,
    InferRequest,
    output_types,
    outputs_of,
    pictures_of,
    read_request,
    written,
)
from ppcls_sspcab.serving.service import Service
from ppcls_sspcab.version import __version__

BINARY = "application/octet-stream"
UNKNOWN_VERSION = "1"  # of a model whose card says none
LEAST_COMPRESSED = 1000  # bytes of an answer
READ_AT_ONCE = 2  # requests: JSON may take thirty times its bytes, and no second core

_CODINGS = {"gzip": 31, "deflate": 15}  # zlib's window bits
_BINARY_CONTENT = {BINARY: {"schema": {"type": "string", "format": "binary"}}}
_UNJUDGED: Responses = {
    422: {"model": Problem, "description": "pictures that could not be judged; all are stored"}
}
_ANSWER: Responses = {200: {"model": InferAnswer, "content": _BINARY_CONTENT}}


def _inlined(schema: Any, parts: dict[str, Any]) -> Any:
    """A JSON schema with ``parts`` in the place of the references to them."""
    if isinstance(schema, list):
        return [_inlined(one, parts) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        schema = {**parts[schema["$ref"].rpartition("/")[2]], **schema}
        del schema["$ref"]
    return {name: _inlined(one, parts) for name, one in schema.items() if name != "$defs"}


_SCHEMA = InferRequest.model_json_schema()
_BODY = {
    "requestBody": {
        "required": True,
        "description": "A request in JSON, or followed by its binary tensor.",
        "content": {
            "application/json": {"schema": _inlined(_SCHEMA, _SCHEMA["$defs"])},
            **_BINARY_CONTENT,
        },
    },
    "parameters": [
        {
            "name": HEADER_LENGTH,
            "in": "header",
            "required": False,
            "description": "bytes of the JSON text, where a binary tensor follows it",
            "schema": {"type": "integer", "minimum": 0},
        },
    ],
}


class ServerMetadata(BaseModel):
    """What answers here."""

    name: str
    version: str
    extensions: list[str]


class ServerLive(BaseModel):
    """Whether the process answers."""

    live: bool


class ServerReady(BaseModel):
    """Whether the service can judge and store."""

    ready: bool


class ModelReady(BaseModel):
    """Whether a model can judge."""

    name: str
    ready: bool


class TensorMetadata(BaseModel):
    """An input or output; -1 is any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """A model: of its inputs a request has one, and the output ``map`` is sent where asked for."""

    name: str
    versions: list[str] = Field(description="the one that is served")
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


def router(service: Service) -> APIRouter:
    """The routes below ``/v2``."""
    routes = APIRouter(prefix="/v2", tags=["open inference protocol"])

    async def any_version(name: str) -> ServedModel:
        return model_of(service, name)

    async def that_version(name: str, version: str) -> ServedModel:
        found = model_of(service, name)
        if version != _version(found):
            raise HTTPException(
                404, f"the model {name!r} has no version {version!r}: it is {_version(found)!r}"
            )
        return found

    reading = asyncio.Semaphore(READ_AT_ONCE)
    _add_server(routes, service)
    for path, chosen in (("", any_version), ("/versions/{version}", that_version)):
        _add_model(routes, service, "/models/{name}" + path, chosen, reading)
    return routes


def _add_server(routes: APIRouter, service: Service) -> None:
    @routes.get("", responses=problems())
    async def server() -> ServerMetadata:
        """Names the service and its extensions of the protocol."""
        return ServerMetadata(
            name="ppcls_sspcab", version=__version__, extensions=["binary_tensor_data"]
        )

    @routes.get("/health/live", responses=problems())
    async def live() -> ServerLive:
        """Answers as long as the process does."""
        return ServerLive(live=True)

    @routes.get("/health/ready", responses=problems())
    async def ready() -> ServerReady:
        """503 where a network failed, the database does not answer, or the service stops."""
        if found := await run_in_threadpool(service.troubles):
            raise HTTPException(503, "; ".join(found))
        return ServerReady(ready=True)


def _add_model(
    routes: APIRouter,
    service: Service,
    path: str,
    chosen: Callable[..., Awaitable[ServedModel]],
    reading: asyncio.Semaphore,
) -> None:
    """Adds the routes of a model, which ``chosen`` finds by what the path has in braces."""
    by_path = Depends(chosen)

    @routes.get(path, responses=problems(404))
    async def model(found: ServedModel = by_path) -> ModelMetadata:
        """Describes a model."""
        return _described(found)

    @routes.get(f"{path}/ready", responses=problems(404))
    async def ready(found: ServedModel = by_path) -> ModelReady:
        """503 where its network failed, the database does not answer, or the service stops."""
        stored = await run_in_threadpool(service.log.healthy)
        if service.stopping or not (stored and found.batcher.healthy):
            raise HTTPException(503, f"the model {found.name!r} cannot judge or store now")
        return ModelReady(name=found.name, ready=True)

    @routes.post(
        f"{path}/infer",
        response_class=Response,
        responses={**_ANSWER, **_UNJUDGED, **problems(400, 404, 413)},
        openapi_extra=_BODY,
    )
    async def infer(request: Request, found: ServedModel = by_path) -> Response:
        """Judges pictures: ``images``, raw pixels, or ``files``, encoded as PNG, JPEG and so on."""
        body = await request.body()
        async with reading:
            asked = await run_in_threadpool(_asked, service, found, body, request.headers)
        return await _infer(service, found, request, asked)


async def _infer(service: Service, model: ServedModel, request: Request, asked: _Asked) -> Response:
    parameters = asked.request.parameters
    caller = caller_of(request, parameters.station, parameters.serial)
    found = await service.inspector.inspect(model, asked.pictures, caller)
    unjudged = [one.inspection for one in found if one.inspection.verdict == "unjudged"]
    if unjudged:
        raise HTTPException(422, "; ".join(f"{row.name}: {row.error}" for row in unjudged))
    accepted = request.headers.get("accept-encoding", "")
    return await run_in_threadpool(_answer, model, asked, found, accepted)


@dataclass(frozen=True)
class _Asked:
    """A request that can be answered.

    Attributes:
        outputs: wanted, and which of them in binary.
    """

    request: InferRequest
    pictures: list[Submitted]
    outputs: dict[str, bool]


def _asked(service: Service, model: ServedModel, body: bytes, headers: Headers) -> _Asked:
    """Raises HTTPException: 400 or 413 for a wrong body, 415 for an unknown Content-Encoding."""
    settings = service.settings
    coding = headers.get("content-encoding", "identity").strip().lower()
    content = decompressed(body, coding, settings.body_bytes)
    request, binary = read_request(content, headers.get(HEADER_LENGTH))
    outputs = outputs_of(request, model.has_maps)
    pictures = pictures_of(request, binary, settings.pictures, settings.most_pixels)
    return _Asked(request, pictures, outputs)


def decompressed(body: bytes, coding: str, most: int) -> bytes:
    """A request's body as it was before ``Content-Encoding``.

    Args:
        coding: ``gzip``, ``deflate`` (zlib's format) or ``identity``.
        most: bytes that may come out.

    Raises:
        HTTPException: 400 for a damaged body, 413 for too many bytes, 415 for another coding.
    """
    if coding == "identity":
        return body
    if coding not in _CODINGS:
        raise HTTPException(415, f"Content-Encoding {coding[:100]!r}: send {' or '.join(_CODINGS)}")
    reader = zlib.decompressobj(_CODINGS[coding])
    try:
        content = reader.decompress(body, most + 1)
    except zlib.error as error:
        raise HTTPException(400, f"the body is not {coding}: {error}") from None
    if len(content) > most:
        raise HTTPException(413, f"the body is larger than {most} bytes: send less")
    if not reader.eof or reader.unused_data:
        raise HTTPException(400, f"the body is not {coding}: it is cut off, or something follows")
    return content


def _answer(
    model: ServedModel, asked: _Asked, found: Sequence[Inspected], accepted: str
) -> Response:
    start = {"model_name": model.name, "model_version": _version(model)}
    if asked.request.id is not None:
        start["id"] = asked.request.id
    body, json_length = written(start, found, asked.outputs)
    headers = {"Vary": "Accept-Encoding"}
    if json_length is not None:
        headers[HEADER_LENGTH] = str(json_length)
    coding = accepted_coding(accepted)
    if coding is not None and len(body) >= LEAST_COMPRESSED:
        writer = zlib.compressobj(1, zlib.DEFLATED, _CODINGS[coding])
        body = writer.compress(body) + writer.flush()
        headers["Content-Encoding"] = coding
    kind = "application/json" if json_length is None else BINARY
    return Response(body, headers=headers, media_type=kind)


def accepted_coding(header: str) -> str | None:
    """The first of our codings in ``Accept-Encoding`` that is not refused by ``q=0``."""
    for part in header.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() in _CODINGS and not re.fullmatch(r"\s*q=0(\.0*)?\s*", weight):
            return coding.strip()
    return None


def _version(model: ServedModel) -> str:
    return model.version or UNKNOWN_VERSION


def _described(model: ServedModel) -> ModelMetadata:
    size = list(model.predictor.card.preprocess.image_size)
    inputs = {IMAGES: ("UINT8", [-1, -1, -1, 3]), FILES: ("BYTES", [-1])}
    return ModelMetadata(
        name=model.name,
        versions=[_version(model)],
        platform=f"ppcls_sspcab_{model.predictor.backend}",
        inputs=[
            TensorMetadata(name=name, datatype=kind, shape=shape)
            for name, (kind, shape) in inputs.items()
        ],
        outputs=[
            TensorMetadata(name=name, datatype=kind, shape=[-1, *(size if name == "map" else [])])
            for name, kind in output_types(model.has_maps).items()
        ],
    )
