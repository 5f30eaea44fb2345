"""Paddle's .pdparams files, read without running what they hold."""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import numpy as np

from ppcls_sspcab.errors import ModelError

# Paddle stores beside the tensors how each parameter was called inside its program.
_NAME_TABLE = "StructuredToParameterName@@"


def widened(bits: np.ndarray) -> np.ndarray:
    """bfloat16, given as uint16, is the upper half of a float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def read_pdparams(path: Path) -> dict[str, np.ndarray]:
    """Every tensor of a file, by name; see :func:`ppcls_sspcab.utils.weights.read_weights`."""
    try:
        with path.open("rb") as file:
            content = _ArrayUnpickler(file).load()
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except Exception as error:  # a damaged pickle raises nearly anything
        raise ModelError(f"{path}: cannot be read as Paddle weights ({error})") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: holds no dictionary of tensors")
    return {
        name: _tensor_of(value, f"{path}: {name}")
        for name, value in content.items()
        if name != _NAME_TABLE
    }


def _tensor_of(value: Any, where: str) -> np.ndarray:
    if isinstance(value, tuple) and len(value) == 2:  # (name, values): a tensor outside a Layer
        value = value[1]
    if not isinstance(value, _PickledArray) or value.array is None:
        raise ModelError(f"{where} is no tensor; give the weights (.pdparams) of a network")
    # Paddle pickles bfloat16 as uint16, which is no type of a parameter.
    return widened(value.array) if value.array.dtype == np.uint16 else value.array


class _PickledDtype:
    """Stands for ``numpy.dtype`` while unpickling; numbers and booleans only."""

    def __init__(self, code: str, *_flags: Any) -> None:
        if not re.fullmatch(r"[fiub][1248]", code):
            raise ModelError(f"holds an array of type {code!r}; only numbers are read")
        self.order, self.code = "<", code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = ">" if state[1] == ">" else "<"

    def parse(self, raw: bytes | str, shape: tuple[int, ...], order: Any) -> np.ndarray:
        data = raw.encode("latin1") if isinstance(raw, str) else raw
        flat = np.frombuffer(data, np.dtype(self.order + self.code))
        return flat.reshape(shape, order=order).astype(self.code)


class _PickledArray:
    """Stands for ``numpy.ndarray`` while unpickling, so that no code of numpy sees raw input."""

    array: np.ndarray | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, fortran_order, raw = state
        self.array = dtype.parse(raw, shape, "F" if fortran_order else "C")

    @staticmethod
    def reconstruct(*_arguments: Any) -> _PickledArray:
        return _PickledArray()

    @staticmethod
    def from_buffer(raw: Any, dtype: _PickledDtype, shape: Any, order: str) -> _PickledArray:
        made = _PickledArray()
        made.array = dtype.parse(raw, shape, order)
        return made

    @staticmethod
    def scalar(dtype: _PickledDtype, raw: bytes | str) -> _PickledArray:
        return _PickledArray.from_buffer(raw, dtype, (), "C")


def _encode_latin1(text: str, encoding: str = "latin1") -> bytes:
    """Stands for ``_codecs.encode``, with which older pickles write bytes."""
    if encoding != "latin1":
        raise ModelError(f"holds text encoded as {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Stands for ``bytes``, with which older pickles write the content of an empty array."""
    return b""


_NUMPY_CORE: dict[tuple[str, str], Any] = {
    ("multiarray", "_reconstruct"): _PickledArray.reconstruct,
    ("multiarray", "scalar"): _PickledArray.scalar,
    ("numeric", "_frombuffer"): _PickledArray.from_buffer,
}

_STAND_INS: dict[tuple[str, str], Any] = {
    # numpy 2 renamed its core.
    **{
        (f"numpy.{core}.{module}", name): function
        for core in ("core", "_core")
        for (module, name), function in _NUMPY_CORE.items()
    },
    ("numpy", "ndarray"): _PickledArray,
    ("numpy", "dtype"): _PickledDtype,
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "tuple"): tuple,
    ("__builtin__", "tuple"): tuple,
    ("_codecs", "encode"): _encode_latin1,
    ("__builtin__", "bytes"): _no_bytes,
    ("builtins", "bytes"): _no_bytes,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Reads arrays and plain values; every other class or function is refused before it runs."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise ModelError(
                f"refused: it would run {module}.{name}, which weights have no need of"
            ) from None
