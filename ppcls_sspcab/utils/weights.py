"""Weights on disk: .safetensors and Paddle's .pdparams, read without running what they hold."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppcls_sspcab.errors import ModelError
from ppcls_sspcab.utils.files import atomic_path
from ppcls_sspcab.utils.pdparams import read_pdparams, widened

if TYPE_CHECKING:
    from paddle import nn

PathLike = str | os.PathLike[str]
_SAFETENSORS, _PDPARAMS = ".safetensors", ".pdparams"
_NAMED_IN_SUMMARY = 6
_SAFETENSORS_TYPES = {
    "BOOL": "?",
    **{f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": f"<f{size}" for size in (2, 4, 8)},
    "BF16": "<u2",
}


def read_weights(path: PathLike) -> dict[str, np.ndarray]:
    """Reads every tensor of a ``.safetensors`` or ``.pdparams`` file.

    bfloat16, which numpy lacks, becomes float32 (exactly); every other type stays as stored.

    Raises:
        ModelError: a missing or damaged file, another suffix, or a pickle that holds anything but
            arrays and plain values.
    """
    path = Path(path)
    reader = _by_suffix(path, lambda path: read_safetensors(path)[0], read_pdparams)
    if not path.is_file():
        raise ModelError(f"{path}: there is no such weights file")
    return reader(path)


def read_safetensors(path: PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """What :func:`write_safetensors` wrote: the tensors, and the texts beside them, read once.

    Raises:
        ModelError: a missing or damaged file.
    """
    from safetensors import SafetensorError, deserialize

    arrays = {}
    try:
        content = Path(path).read_bytes()
        # The library's numpy loader fails on bfloat16, and its order changes from call to call.
        tensors = dict(deserialize(content))
        for name, tensor in sorted(tensors.items()):
            array = np.frombuffer(tensor["data"], _SAFETENSORS_TYPES[tensor["dtype"]])
            array = array.reshape(tensor["shape"])
            arrays[name] = widened(array) if tensor["dtype"] == "BF16" else array
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read as safetensors ({error})") from error
    except KeyError as error:
        raise ModelError(f"{path}: holds tensors of type {error}, which cannot be read") from error
    return arrays, dict(header.get("__metadata__") or {})


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
    writer = _by_suffix(Path(destination), write_safetensors, write_pdparams)
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
        layer: nothing of it changes when an error is raised.
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


def part_of(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin with a prefix, under the rest of their names."""
    return {
        name.removeprefix(prefix): value
        for name, value in arrays.items()
        if name.startswith(prefix)
    }


def _by_suffix(path: Path, safetensors: Any, pdparams: Any) -> Any:
    choices = {_SAFETENSORS: safetensors, _PDPARAMS: pdparams}
    if path.suffix not in choices:
        raise ModelError(f"{path}: weights are {_SAFETENSORS} or {_PDPARAMS} files")
    return choices[path.suffix]


def _shortened(names: tuple[str, ...] | list[str]) -> str:
    more = len(names) - _NAMED_IN_SUMMARY
    text = ", ".join(names[:_NAMED_IN_SUMMARY])
    return f"{text} and {more} more" if more > 0 else text
