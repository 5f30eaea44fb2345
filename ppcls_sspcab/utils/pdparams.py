"""Paddle's .pdparams files, read without running what they hold."""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

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
        content = _ArrayUnpickler(path.read_bytes()).load()
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except KeyError as error:  # of the table of operations
        raise ModelError(f"{path}: refused: a pickle that weights have no need of") from error
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


@dataclass
class _PickledDtype:
    """Stands for ``numpy.dtype`` while unpickling; numbers and booleans only."""

    code: str
    order: str = "<"


@dataclass
class _PickledArray:
    """Stands for ``numpy.ndarray`` while unpickling, so that no code of numpy sees raw input."""

    array: np.ndarray | None = None


# What Paddle writes in any protocol. Left out is what makes objects of classes, sets (which hash
# their members), and references to other files.
_OPERATIONS = """
PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 FLOAT BINFLOAT
STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES
SHORT_BINBYTES BINBYTES8 BYTEARRAY8 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND
APPENDS EMPTY_DICT DICT SETITEM SETITEMS GLOBAL STACK_GLOBAL REDUCE BUILD PUT BINPUT LONG_BINPUT
MEMOIZE GET BINGET LONG_BINGET
"""
# Bytes that may be made of a file, in its sizes: older protocols need each array twice, as text.
_MOST_SIZES = 4


class _ArrayUnpickler(pickle._Unpickler):
    """Reads arrays and plain values; every other class or function is refused before it runs.

    A file can neither change what is called for it nor make more of its bytes than they are.
    """

    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")
        self._bytes_left = _MOST_SIZES * len(content)
        core: dict[tuple[str, str], Any] = {
            ("multiarray", "_reconstruct"): self._empty,
            ("multiarray", "scalar"): self._scalar,
            ("numeric", "_frombuffer"): self._from_buffer,
        }
        self._known: dict[tuple[str, str], Any] = {
            # numpy 2 renamed its core.
            **{
                (f"numpy.{place}.{module}", name): function
                for place in ("core", "_core")
                for (module, name), function in core.items()
            },
            ("numpy", "ndarray"): self._empty,
            ("numpy", "dtype"): self._dtype,
            ("collections", "OrderedDict"): self._dict,
            ("_codecs", "encode"): self._encoded,
            **{
                (module, name): function
                for module in ("builtins", "__builtin__")
                for name, function in (("tuple", self._pair), ("bytes", self._no_bytes))
            },
        }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._known[module, name]
        except KeyError:
            raise ModelError(
                f"refused: it would run {module}.{name}, which weights have no need of"
            ) from None

    def _build(self) -> None:
        state = self.stack.pop()
        made = self.stack[-1]
        if isinstance(made, _PickledDtype):
            made.order = ">" if state[1] in (">",) else "<"
        elif isinstance(made, _PickledArray):
            _version, shape, dtype, fortran_order, raw = state
            made.array = self._parsed(raw, dtype, shape, "F" if fortran_order is True else "C")
        elif not isinstance(made, dict):  # what an OrderedDict has beside its items is left out
            raise ModelError("refused: it would change an object that is no array")

    def _set_items(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise ModelError("holds items of what is no dictionary")
        target.update(self._named(pairs))

    def _set_item(self) -> None:
        value, name = self.stack.pop(), self.stack.pop()
        self._set_items([name, value])

    def _make_dict(self) -> None:
        items = self.pop_mark()
        self.append(self._named(items))

    @staticmethod
    def _named(items: list[Any]) -> dict[str, Any]:
        """Names and values in turn; a name is a text: hashing nested tuples may take for ever."""
        names = items[::2]
        if not all(isinstance(name, str) for name in names):
            raise ModelError("holds a dictionary with keys that are no texts")
        return dict(zip(names, items[1::2], strict=True))

    def _empty(self, *_arguments: Any) -> _PickledArray:
        return _PickledArray()

    def _dtype(self, code: Any, *_flags: Any) -> _PickledDtype:
        text = code if isinstance(code, str) else "?"
        if not re.fullmatch(r"[fiub][1248]", text):
            raise ModelError(f"holds an array of type {text!r}; only numbers are read")
        return _PickledDtype(text)

    def _scalar(self, dtype: Any, raw: Any) -> _PickledArray:
        return _PickledArray(self._parsed(raw, dtype, (), "C"))

    def _from_buffer(self, raw: Any, dtype: Any, shape: Any, order: Any) -> _PickledArray:
        return _PickledArray(self._parsed(raw, dtype, shape, "F" if order == "F" else "C"))

    def _parsed(self, raw: Any, dtype: Any, shape: Any, order: Literal["C", "F"]) -> np.ndarray:
        data = self._encoded(raw) if isinstance(raw, str) else raw
        fits = isinstance(data, (bytes, bytearray)) and isinstance(dtype, _PickledDtype)
        if not fits or not (
            isinstance(shape, tuple) and all(isinstance(size, int) for size in shape)
        ):
            raise ModelError("holds a damaged array")
        self._spend(len(data))
        flat = np.frombuffer(data, np.dtype(dtype.order + dtype.code))
        return flat.reshape(shape, order=order).astype(dtype.code)

    def _encoded(self, text: Any, encoding: Any = "latin1") -> bytes:
        """Stands for ``_codecs.encode``, with which older pickles write bytes."""
        if not (isinstance(text, str) and isinstance(encoding, str) and encoding == "latin1"):
            raise ModelError("holds text that is not encoded as latin1")
        self._spend(len(text))
        return text.encode("latin1")

    def _no_bytes(self) -> bytes:
        """Stands for ``bytes``, with which older pickles write the content of an empty array."""
        return b""

    def _pair(self, items: Any) -> tuple[Any, ...]:
        """Stands for ``tuple``: the name and values of a tensor outside a Layer."""
        if not isinstance(items, (tuple, list)) or len(items) > 2:
            raise ModelError("holds a tuple that is no tensor")
        return tuple(items)

    def _dict(self, pairs: Any = ()) -> dict[str, Any]:
        """Stands for ``collections.OrderedDict``."""
        if not isinstance(pairs, (tuple, list)):
            raise ModelError("holds a damaged dictionary")
        self._spend(len(pairs))
        return self._named([item for name, value in pairs for item in (name, value)])

    def _spend(self, size: int) -> None:
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise ModelError("stands for far more values than it holds")

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        code: pickle._Unpickler.dispatch[code]
        for code in (getattr(pickle, name)[0] for name in _OPERATIONS.split())
    } | {
        pickle.BUILD[0]: _build,
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: lambda self: self._set_items(self.pop_mark()),
        pickle.DICT[0]: _make_dict,
    }
