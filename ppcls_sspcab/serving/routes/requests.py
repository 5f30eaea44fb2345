"""Pictures out of a request's body: the file alone, or the parts of a form."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import TypeVar

from fastapi import HTTPException, Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from ppcls_sspcab.serving.inspector import Caller, Submitted
from ppcls_sspcab.serving.models import ServedModel
from ppcls_sspcab.serving.service import Service

BODY = "body"

Asked = TypeVar("Asked", bound=BaseModel)


class _InMemory(MultiPartParser):
    """Parts stay in memory, which the limit of the body bounds: nothing is written to a disk."""

    spool_max_size = 1 << 40


async def submitted_pictures(request: Request, most: int, name: str) -> list[Submitted]:
    """The pictures of a request.

    Args:
        request: ``multipart/form-data``, whose file parts are pictures, or any other body, which is
            one picture file.
        most: of one request.
        name: of a picture that is the whole body.

    Raises:
        HTTPException: 400 for no picture, or a malformed form; 413 for too many.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        content = await request.body()
        if not content:
            raise HTTPException(400, "the body is empty: send a picture file")
        return [Submitted(content, name or BODY)]
    found = [one async for one in _parts(request, most)]
    if not found:
        raise HTTPException(400, "the form has no file part: send each picture as one")
    return found


async def _parts(request: Request, most: int) -> AsyncIterator[Submitted]:
    try:
        parser = _InMemory(
            request.headers, request.stream(), max_files=most, max_fields=0, max_part_size=1 << 10
        )
        form = await parser.parse()
    except MultiPartException as error:
        code = 413 if error.message.startswith("Too many") else 400
        raise HTTPException(code, f"the form: {error.message}") from None
    except (KeyError, UnicodeError, ValueError) as error:
        raise HTTPException(400, f"the form cannot be read: {error}") from None
    for _, part in form.multi_items():
        if isinstance(part, UploadFile):
            yield Submitted(await part.read(), part.filename or BODY)


def from_json(kind: type[Asked], text: bytes) -> Asked:
    """What a JSON text asks for.

    Raises:
        HTTPException: 400 for a text that is no JSON, or not of this kind.
    """
    try:
        return kind.model_validate(json.loads(text.decode(), parse_constant=_refuse_constant))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the request"
        raise HTTPException(400, f"{where}: {first['msg']}") from None
    except RecursionError:
        raise HTTPException(400, "the JSON text is nested too deep") from None
    except ValueError as error:
        raise HTTPException(400, f"the JSON text cannot be read: {error}") from None


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def caller_of(request: Request, station: str = "", serial: str = "") -> Caller:
    """Who asks, as it is kept with the inspection."""
    return Caller(request.state.request_id, station, serial)


def model_of(service: Service, name: str) -> ServedModel:
    """A model by its name.

    Raises:
        HTTPException: 404.
    """
    if name not in service.models:
        raise HTTPException(404, f"there is no model {name!r}; GET /v1/models lists them")
    return service.models[name]
