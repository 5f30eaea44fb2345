"""Weights on disk: .safetensors and Paddle's .pdparams, read without running what they hold."""

from __future__ import annotations

import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ppcls_sspcab.errors import ModelError
from ppcls_sspcab.utils.files import atomic_path

if TYPE_CHECKING:
    from paddle import nn

PathLike = str | os.PathLike[str]
_SAFETENSORS, _PDPARAMS = ".safetensors", ".pdparams"
_NAMED_IN_SUMMARY = 6
# Paddle stores beside the tensors how each parameter was called inside its program.
_NAME_TABLE = "StructuredToParameterName@@"


def read_weights(path: PathLike) -> dict[str, np.ndarray]:
    """Reads every tensor of a ``.safetensors`` or ``.pdparams`` file.

    bfloat16, which numpy lacks, becomes float32 (exactly); every other type stays as stored.

    Raises:
        ModelError: a missing or damaged file, another suffix, or a pickle that holds anything but
            arrays and plain values.
    """
    path = Path(path)
    reader = _by_suffix(path, _read_safetensors, _read_pdparams)
    if not path.is_file():
        raise ModelError(f"{path}: there is no such weights file")
    return reader(path)


def read_metadata(path: PathLike) -> dict[str, str]:
    """The texts that :func:`write_safetensors` stored beside the tensors; empty if none.

    Raises:
        ModelError: a missing or damaged file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), "numpy") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read as safetensors ({error})") from error


def write_safetensors(
    path: PathLike, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes tensors, and texts about them, to ``path``, whole or not at all."""
    from safetensors.numpy import save_file

    # The library writes the buffer as it lies in memory, whatever its strides.
    contiguous = {name: np.array(array, order="C") for name, array in arrays.items()}
    with atomic_path(path) as temporary:
        save_file(contiguous, temporary, dict(metadata or {}))


def write_pdparams(path: PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes tensors as a file that ``paddle.load`` reads, whole or not at all."""
    plain = {name: np.array(array, order="C") for name, array in arrays.items()}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        pickle.dump(plain, file, protocol=4)


def convert(source: PathLike, destination: PathLike) -> None:
    """Rewrites weights in the format that the destination's suffix names.

    Raises:
        ModelError: as :func:`read_weights`, or an unknown suffix of the destination.
    """
    destination = Path(destination)
    writer: Callable[[PathLike, Mapping[str, np.ndarray]], None] = _by_suffix(
        destination, write_safetensors, write_pdparams
    )
    writer(destination, read_weights(source))


@dataclass(frozen=True)
class LoadReport:
    """What :func:`load_into` found, all of it by tensor name.

    Attributes:
        loaded: in the network and in the file.
        missing: in the network only; these keep the values they were initialised with.
        unexpected: in the file only; not used.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]

    def summary(self) -> str:
        """One line for the log."""
        line = f"loaded {len(self.loaded)} of {len(self.loaded) + len(self.missing)} tensors"
        if self.missing:
            line += f"; not in the file, initialised at random: {_shortened(self.missing)}"
        if self.unexpected:
            line += f"; in the file, not used: {_shortened(self.unexpected)}"
        return line


def load_into(layer: nn.Layer, arrays: Mapping[str, np.ndarray], where: str) -> LoadReport:
    """Copies arrays into the parameters and buffers of the same names, cast to their types.

    Args:
        layer: the network; nothing of it changes when an error is raised.
        arrays: tensors by name, as :func:`read_weights` returns them.
        where: the file, for error messages.

    Raises:
        ModelError: a tensor of another shape than the network's, or no name in common.
    """
    import paddle

    state = layer.state_dict()
    loaded = tuple(name for name in state if name in arrays)
    missing = tuple(name for name in state if name not in arrays)
    unexpected = tuple(name for name in arrays if name not in state)
    if not loaded:
        raise ModelError(
            f"{where}: no tensor fits this network: the file holds {_shortened(unexpected)}; "
            f"the network has {_shortened(missing)}; use weights of the same backbone"
        )
    wrong = [
        f"{name} is {list(arrays[name].shape)}, the network's {list(state[name].shape)}"
        for name in loaded
        if list(arrays[name].shape) != list(state[name].shape)
    ]
    if wrong:
        raise ModelError(f"{where}: tensors of another shape: {_shortened(wrong)}")
    for name in loaded:
        value = paddle.to_tensor(np.asarray(arrays[name]))
        state[name].set_value(value.astype(state[name].dtype))
    return LoadReport(loaded, missing, unexpected)


def _by_suffix(path: Path, safetensors: Any, pdparams: Any) -> Any:
    choices = {_SAFETENSORS: safetensors, _PDPARAMS: pdparams}
    if path.suffix not in choices:
        raise ModelError(f"{path}: weights are {_SAFETENSORS} or {_PDPARAMS} files")
    return choices[path.suffix]


def _shortened(names: tuple[str, ...] | list[str]) -> str:
    more = len(names) - _NAMED_IN_SUMMARY
    text = ", ".join(names[:_NAMED_IN_SUMMARY])
    return f"{text} and {more} more" if more > 0 else text


def _widened(bits: np.ndarray) -> np.ndarray:
    """bfloat16, given as uint16, is the upper half of a float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


_SAFETENSORS_TYPES = {
    "BOOL": "?",
    **{f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": f"<f{size}" for size in (2, 4, 8)},
    "BF16": "<u2",
}


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError, deserialize

    arrays = {}
    try:
        # The library's numpy loader fails on bfloat16, and its order changes from call to call.
        tensors = dict(deserialize(path.read_bytes()))
        for name, tensor in sorted(tensors.items()):
            array = np.frombuffer(tensor["data"], _SAFETENSORS_TYPES[tensor["dtype"]])
            array = array.reshape(tensor["shape"])
            arrays[name] = _widened(array) if tensor["dtype"] == "BF16" else array
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read as safetensors ({error})") from error
    except KeyError as error:
        raise ModelError(f"{path}: holds tensors of type {error}, which cannot be read") from error
    return arrays


def _read_pdparams(path: Path) -> dict[str, np.ndarray]:
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
    return _widened(value.array) if value.array.dtype == np.uint16 else value.array


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
