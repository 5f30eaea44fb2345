"""A model in one of the runtimes: Paddle Inference or ONNX Runtime."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ppcls_sspcab.errors import ModelError, UserError
from ppcls_sspcab.paths import PADDLE_FILES
from ppcls_sspcab.runtime.card import INPUT_NAME
from ppcls_sspcab.utils.machine import cpu_threads
from ppcls_sspcab.utils.paddle_import import import_paddle
from ppcls_sspcab.utils.paddle_inference import PaddleProgram

# Names of operators that do more than compute.
_SIDE_EFFECTS = re.compile(
    r"(save|load|read|print|py_func|py_layer|run_program|send|recv|p_send|p_recv|partial_send|"
    r"partial_recv|listen|create_\w*reader|decode_jpeg)(_combine|_file|_v2|_array|_and_serv)?_?"
)

# The key by which an ONNX tensor names the file that holds it; its length stands before it.
_OUTSIDE = re.compile(rb"[\x08\x00]location")


class Network(Protocol):
    """A model in one of the runtimes; calls from several threads are allowed."""

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Runs one batch, of any size.

        Args:
            images: the graph's input: float32 [N, 3, h, w] or uint8 [N, h, w, 3].

        Returns:
            the outputs by name; ``score`` float32 [N] is among them.
        """
        ...


class PaddleNetwork:
    """``inference.json`` and ``inference.pdiparams`` in Paddle Inference.

    Args:
        folder: where the two files lie.
        outputs: names of the outputs, in the graph's order (the graph has none of its own).
        threads, onednn, device: as :class:`PaddleProgram` takes them.

    Raises:
        UserError: Paddle is not installed, or has no GPU support and one is asked for.
        ModelError: Paddle cannot load the files.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        outputs: Sequence[str],
        threads: int | None = None,
        onednn: bool = True,
        device: str = "cpu",
    ) -> None:
        program, weights = (Path(folder) / name for name in PADDLE_FILES)
        _refuse_side_effects(program)
        try:
            import_paddle()
        except UserError as error:
            raise UserError(f"the backend 'paddle': {error}; or take the backend 'onnx'") from error
        try:
            self._program = PaddleProgram(program, weights, threads, onednn, device)
        except UserError:
            raise
        except Exception as error:  # Paddle's checks raise nearly every built-in type
            reason = " ".join(str(error).split())
            raise ModelError(f"{folder}: Paddle cannot load the model: {reason}") from error
        found = self._program.outputs
        if len(found) != len(outputs):
            raise ModelError(f"{folder}: the model has {len(found)} outputs, not {len(outputs)}")
        self._outputs = list(outputs)

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """As :meth:`Network.run`."""
        return dict(zip(self._outputs, self._program.run(images), strict=True))


class OnnxNetwork:
    """``model.onnx`` in ONNX Runtime on the CPU; runs of several threads go on side by side.

    Args:
        path: the model's file.
        threads: of one run's computation; default: all physical cores of this process.

    Raises:
        UserError: ONNX Runtime is not installed.
        ModelError: it cannot load the file, or the model's weights lie in other files, of which
            the versions of ONNX Runtime for Python 3.10 read any.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError(
                f"the backend 'onnx' needs ONNX Runtime ({error}): pip install onnxruntime, or "
                "take the backend 'paddle'"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or cpu_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            if _OUTSIDE.search(Path(path).read_bytes()):
                raise ModelError(f"{path}: refused: the model reads other files")
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except ModelError:
            raise
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise ModelError(f"{path}: ONNX Runtime cannot load the model: {error}") from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """As :meth:`Network.run`."""
        outputs = self._session.run(self._outputs, {INPUT_NAME: images})
        return dict(zip(self._outputs, outputs, strict=True))


def _refuse_side_effects(program: Path) -> None:
    """Raises ModelError for what is no program, or has an operator that does more than compute.

    Some of Paddle's operators read and write files, call Python and open connections; no detector
    needs them.
    """
    try:
        waiting = [json.loads(program.read_bytes())]
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{program}: cannot be read: {error}") from error
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            operator = str(value.get("#", "")).rpartition(".")[2]
            if _SIDE_EFFECTS.fullmatch(operator):
                raise ModelError(f"{program}: refused: its operator {operator!r} does not compute")
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
