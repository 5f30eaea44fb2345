"""Requests and answers of the Open Inference Protocol v2: tensors in JSON, or in binary behind it.

A binary tensor follows the JSON text, whose length the header ``Inference-Header-Content-Length``
gives: row by row, little endian; of BYTES each element after its length, a uint32.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import struct
from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Annotated, Any

import numpy as np
from fastapi import HTTPException
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from ppcls_sspcab.serving.inspector import Inspected, Submitted
from ppcls_sspcab.serving.routes.requests import from_json

IMAGES, FILES = "images", "files"
HEADER_LENGTH = "Inference-Header-Content-Length"
BASE64 = "base64"

Name = Annotated[str, Field(max_length=200)]
_Data = Field(
    default=None,
    description="flat, row by row, or nested as the shape says; absent where it is binary",
    json_schema_extra={"type": "array", "items": {}},
)


class RequestParameters(BaseModel):
    """What counts for the whole request; what is not listed is not looked at."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    station: Name = ""
    serial: Name = ""
    content_type: Name = Field(default="", description="of an input that has none of its own")
    binary_data_output: StrictBool = Field(
        default=False, description="outputs are binary that do not say otherwise"
    )


class InputParameters(BaseModel):
    """How an input is sent."""

    content_type: Name = Field(
        default="", description="base64: the strings of BYTES in JSON are files in base64"
    )
    binary_data_size: Annotated[StrictInt, Field(ge=0)] | None = Field(
        default=None, description="bytes of the tensor behind the JSON text"
    )
    shared_memory_region: Any = Field(default=None, description="not served")


class InputTensor(BaseModel):
    """Pictures: ``images`` UINT8 [N, H, W, 3] RGB of any size, or ``files`` BYTES [N]."""

    name: Name
    shape: Annotated[list[Annotated[StrictInt, Field(ge=1)]], Field(max_length=8)]
    datatype: Name
    parameters: InputParameters = InputParameters()
    data: Any = _Data


class OutputParameters(BaseModel):
    """How an output is wanted."""

    binary_data: StrictBool | None = Field(
        default=None, description="null: as binary_data_output of the request says"
    )
    classification: Any = Field(default=None, description="not served")
    shared_memory_region: Any = Field(default=None, description="not served")


class RequestedOutput(BaseModel):
    """An output by its name."""

    name: Name
    parameters: OutputParameters = OutputParameters()


class InferRequest(BaseModel):
    """Pictures to be judged; without ``outputs`` all but ``map`` are sent."""

    id: Annotated[str, Field(max_length=1000)] | None = None
    parameters: RequestParameters = RequestParameters()
    inputs: Annotated[list[InputTensor], Field(max_length=16)] = Field(description="just one")
    outputs: Annotated[list[RequestedOutput], Field(max_length=16)] | None = None


class OutputTensor(BaseModel):
    """One output of all pictures; ``data`` is flat, and absent where ``binary_data_size`` is."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, int] | None = None
    data: list[Any] | None = None


class InferAnswer(BaseModel):
    """The verdicts, with the request's ``id`` where it had one."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


_OUTPUTS: dict[str, tuple[str, Callable[[Inspected], Any]]] = {
    "score": ("FP32", lambda one: one.inspection.score),
    "normalized_score": ("FP32", lambda one: one.inspection.normalized_score),
    "threshold": ("FP32", lambda one: one.inspection.threshold),
    "is_anomaly": ("BOOL", lambda one: one.inspection.is_anomaly),
    "id": ("BYTES", lambda one: one.inspection.id),
    "error": ("BYTES", lambda one: one.inspection.error),
    "map": ("FP32", lambda one: one.map),
}
_SENT_UNASKED = [name for name in _OUTPUTS if name != "map"]


def output_types(has_maps: bool) -> dict[str, str]:
    """Datatypes of a model's outputs, by name."""
    return {name: kind for name, (kind, _) in _OUTPUTS.items() if has_maps or name != "map"}


def read_request(body: bytes, header_length: str | None) -> tuple[InferRequest, memoryview]:
    """Takes a body apart.

    Args:
        body: the JSON text, and what is behind it.
        header_length: bytes of the JSON text, in digits; None: all of them.

    Returns:
        the request, and the binary tensors behind it.

    Raises:
        HTTPException: 400 for what is no such request.
    """
    length = len(body)
    if header_length is not None:
        known = re.fullmatch("[0-9]{1,18}", header_length)
        if not known or int(header_length) > length:
            raise HTTPException(
                400,
                f"{HEADER_LENGTH} {header_length[:100]!r}: must be the bytes of the JSON text, of "
                f"which the body has at most {length}",
            )
        length = int(header_length)
    return from_json(InferRequest, body[:length]), memoryview(body)[length:]


def pictures_of(
    request: InferRequest, binary: memoryview, most: int, most_pixels: int
) -> list[Submitted]:
    """The pictures of a request, named ``images[0]`` or ``files[0]`` and so on.

    Args:
        binary: what is behind the JSON text.
        most: pictures of one request.
        most_pixels: of one raw picture.

    Returns:
        raw pixels, uint8 [H, W, 3] each, views of ``binary`` where they are there, or files.

    Raises:
        HTTPException: 400 for inputs that are not as :class:`InputTensor` says, or whose data are
            not as their shape says; 413 for too many pictures or pixels.
    """
    if len(request.inputs) != 1:
        given = len(request.inputs)
        raise HTTPException(400, f"give one input, {IMAGES!r} or {FILES!r}, not {given} inputs")
    tensor = request.inputs[0]
    _check_shape(tensor, most, most_pixels)
    size = tensor.parameters.binary_data_size
    if (size is None) == (tensor.data is None):
        raise _wrong(tensor, "give either 'data' or the parameter 'binary_data_size'")
    if (size or 0) != len(binary):
        raise _wrong(tensor, f"binary_data_size is {size or 0}, but {len(binary)} bytes are there")
    contents: Iterable[bytes | np.ndarray]
    try:
        if tensor.name == IMAGES:
            contents = _pixels(tensor, binary)
        else:
            kind = tensor.parameters.content_type or request.parameters.content_type
            contents = _files(tensor, binary, kind == BASE64)
    except (TypeError, ValueError, struct.error) as error:
        raise _wrong(tensor, str(error)) from None
    return [Submitted(content, f"{tensor.name}[{n}]") for n, content in enumerate(contents)]


def _check_shape(tensor: InputTensor, most: int, most_pixels: int) -> None:
    """Raises HTTPException: 400 for another input than there is, 413 for a too large one."""
    known = {IMAGES: "UINT8", FILES: "BYTES"}
    if tensor.name not in known:
        raise HTTPException(400, f"unknown input {tensor.name!r}: give {IMAGES!r} or {FILES!r}")
    if tensor.datatype != known[tensor.name]:
        raise _wrong(tensor, f"the datatype must be {known[tensor.name]}, not {tensor.datatype!r}")
    if tensor.parameters.shared_memory_region is not None:
        raise _wrong(tensor, "shared memory is not served: send the tensor itself")
    shape = tensor.shape
    if tensor.name == IMAGES and (len(shape) != 4 or shape[3] != 3):
        raise _wrong(tensor, f"the shape must be [N, H, W, 3], not {_short(shape)}")
    if tensor.name == FILES and (len(shape) not in (1, 2) or shape[1:] not in ([], [1])):
        raise _wrong(tensor, f"the shape must be [N] or [N, 1], not {_short(shape)}")
    if shape[0] > most:
        raise HTTPException(413, f"more than {most} pictures in one request: send less at once")
    if tensor.name == IMAGES and shape[1] * shape[2] > most_pixels:
        raise HTTPException(413, f"{_short(shape)}: pictures have at most {most_pixels} pixels")


def _short(shape: list[int]) -> str:
    return f"[{', '.join(str(size) if size < 1 << 63 else 'huge' for size in shape)}]"


def _wrong(tensor: InputTensor, text: str) -> HTTPException:
    return HTTPException(400, f"input {tensor.name!r}: {text}")


def _pixels(tensor: InputTensor, binary: memoryview) -> np.ndarray:
    """uint8 [N, H, W, 3]. Raises TypeError or ValueError for data of another size or kind."""
    content = binary if tensor.data is None else bytes(_flat(tensor))
    if len(content) != prod(tensor.shape):
        raise ValueError(f"{_short(tensor.shape)} are not the {len(content)} bytes that are there")
    return np.frombuffer(content, np.uint8).reshape(tensor.shape)


def _files(tensor: InputTensor, binary: memoryview, base64_text: bool) -> list[bytes]:
    """N files. Raises TypeError, ValueError or struct.error for data of another size or kind."""
    count = tensor.shape[0]
    if tensor.data is None:
        found = _unpacked(binary, count)
    else:
        texts = _flat(tensor)
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("the elements of BYTES are strings in JSON")
        found = [base64_file(text) if base64_text else text.encode() for text in texts]
    if len(found) != count:
        raise ValueError(f"{_short(tensor.shape)} are not the {len(found)} elements there")
    return found


def base64_file(text: str) -> bytes:
    """What a text in base64 stands for, which may be broken into lines. Raises ValueError."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise ValueError(f"is no base64: {error}") from None


def _unpacked(binary: memoryview, most: int) -> list[bytes]:
    """The elements of BYTES. Raises ValueError or struct.error; stops after ``most`` and one."""
    found: list[bytes] = []
    start = 0
    while start < len(binary) and len(found) <= most:
        (length,) = struct.unpack_from("<I", binary, start)
        start += 4
        if length > len(binary) - start:
            raise ValueError(f"element {len(found)} ends behind the tensor")
        found.append(bytes(binary[start : start + length]))
        start += length
    return found


def _flat(tensor: InputTensor) -> list[Any]:
    """The elements of data that are flat or nested. Raises TypeError or ValueError."""
    data = tensor.data
    if not isinstance(data, list):
        raise TypeError("data must be a list")
    if not (data and isinstance(data[0], list)):
        return data
    if len(data) != tensor.shape[0]:
        raise ValueError(f"data are not nested as {_short(tensor.shape)}")
    for size in tensor.shape[1:]:
        if not all(isinstance(part, list) and len(part) == size for part in data):
            raise ValueError(f"data are not nested as {_short(tensor.shape)}")
        data = list(itertools.chain.from_iterable(data))
    return data


def outputs_of(request: InferRequest, has_maps: bool) -> dict[str, bool]:
    """The wanted outputs, and which of them in binary.

    Raises:
        HTTPException: 400 for an output that the model has not, that is wanted twice, or in a way
            that is not served.
    """
    unless_said = request.parameters.binary_data_output
    if not request.outputs:
        return dict.fromkeys(_SENT_UNASKED, unless_said)
    found: dict[str, bool] = {}
    known = output_types(has_maps)
    for output in request.outputs:
        name, wanted = output.name, output.parameters
        if name not in known:
            raise HTTPException(400, f"unknown output {name!r}: there are {', '.join(known)}")
        if name in found:
            raise HTTPException(400, f"output {name!r} is wanted twice")
        if wanted.classification is not None or wanted.shared_memory_region is not None:
            raise HTTPException(
                400, f"output {name!r}: classification and shared memory are not served"
            )
        found[name] = unless_said if wanted.binary_data is None else wanted.binary_data
    return found


def written(
    start: dict[str, Any], found: Sequence[Inspected], outputs: dict[str, bool]
) -> tuple[bytes, int | None]:
    """The body of an answer.

    Args:
        start: what stands before the outputs.
        found: judged pictures.
        outputs: as of :func:`outputs_of`.

    Returns:
        the body, and how many of its bytes are JSON; None where all are.
    """
    tensors, parts = [], []
    for name, binary in outputs.items():
        kind, value_of = _OUTPUTS[name]
        values = [value_of(one) for one in found]
        array = None if kind == "BYTES" else np.array(values, "<f4" if kind == "FP32" else bool)
        shape = [len(values)] if array is None else list(array.shape)
        tensor: dict[str, Any] = {"name": name, "datatype": kind, "shape": shape}
        if binary:
            parts.append(_packed(values) if array is None else array.tobytes())
            tensor["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            tensor["data"] = values if array is None else array.ravel().tolist()
        tensors.append(tensor)
    text = json.dumps({**start, "outputs": tensors}, separators=(",", ":")).encode()
    return b"".join([text, *parts]), len(text) if parts else None


def _packed(texts: Sequence[str]) -> bytes:
    encoded = [text.encode("utf-8", "replace") for text in texts]
    return b"".join(struct.pack("<I", len(one)) + one for one in encoded)
