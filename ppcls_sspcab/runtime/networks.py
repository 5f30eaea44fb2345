"""A model in one of the runtimes: Paddle Inference, ONNX Runtime or OpenVINO."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ppcls_sspcab.errors import ModelError, UserError
from ppcls_sspcab.paths import PADDLE_FILES
from ppcls_sspcab.runtime.card import INPUT_NAME, InferenceCard
from ppcls_sspcab.runtime.operators import check_onnx, checked_program
from ppcls_sspcab.utils.files import naming_output
from ppcls_sspcab.utils.machine import cpu_threads
from ppcls_sspcab.utils.paddle_import import import_paddle
from ppcls_sspcab.utils.paddle_inference import PaddleProgram

_OPENVINO_LOCK = threading.Lock()


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
        card: given, the files are held to its hashes.

    Raises:
        UserError: Paddle is not installed, or has no GPU support and one is asked for.
        ModelError: Paddle cannot load the files, or the program holds an operator that is not in
            :mod:`ppcls_sspcab.runtime.operators`.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        outputs: Sequence[str],
        threads: int | None = None,
        onednn: bool = True,
        device: str = "cpu",
        card: InferenceCard | None = None,
    ) -> None:
        program_path, weights_path = (Path(folder) / name for name in PADDLE_FILES)
        program = checked_program(_read(program_path, card), str(program_path))
        weights = _read(weights_path, card)
        try:
            import_paddle()
        except UserError as error:
            raise UserError(f"the backend 'paddle': {error}; or take the backend 'onnx'") from error
        try:
            # Paddle takes PIR programs from files only: from files that nobody else can write.
            with (
                naming_output(tempfile.gettempdir()),
                tempfile.TemporaryDirectory(prefix="ppcls_sspcab_") as private,
            ):
                program_path, weights_path = (Path(private) / name for name in PADDLE_FILES)
                program_path.write_bytes(program)
                weights_path.write_bytes(weights)
                self._program = PaddleProgram(program_path, weights_path, threads, onednn, device)
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
        card: given, the file is held to its hash.

    Raises:
        UserError: ONNX Runtime is not installed.
        ModelError: it cannot load the file, or the model holds something that is not in
            :mod:`ppcls_sspcab.runtime.operators`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        threads: int | None = None,
        card: InferenceCard | None = None,
    ) -> None:
        content = read_onnx(Path(path), card)
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
        # Bytes can be an ONNX model and one of ONNX Runtime's own format at once.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        try:
            self._session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise ModelError(f"{path}: ONNX Runtime cannot load the model: {error}") from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """As :meth:`Network.run`."""
        outputs = self._session.run(self._outputs, {INPUT_NAME: images})
        return dict(zip(self._outputs, outputs, strict=True))


class OpenVinoNetwork:
    """``model.onnx`` in OpenVINO on the CPU; runs of several threads go on side by side.

    It computes in float32: left alone, OpenVINO takes bfloat16 on processors that have it, and
    scores are off by some percent.

    Args:
        path, threads, card: as of :class:`OnnxNetwork`.
        outputs: names of the outputs that are wanted.

    Raises:
        UserError: OpenVINO is not installed.
        ModelError: as :class:`OnnxNetwork`, or an output is not there.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        outputs: Sequence[str],
        threads: int | None = None,
        card: InferenceCard | None = None,
    ) -> None:
        content = read_onnx(Path(path), card)
        try:
            with _OPENVINO_LOCK:
                core = _openvino_core()
        except ImportError as error:
            raise UserError(
                f"the backend 'openvino' needs OpenVINO ({error}): pip install openvino, or take "
                "the backend 'onnx'"
            ) from error
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads or cpu_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            self._model = core.compile_model(core.read_model(content), "CPU", settings)
        except Exception as error:  # RuntimeError, and whatever its ONNX reader raises
            reason = " ".join(str(error).split())
            raise ModelError(f"{path}: OpenVINO cannot load the model: {reason}") from error
        missing = set(outputs).difference(*(port.get_names() for port in self._model.outputs))
        if missing:
            raise ModelError(f"{path}: the model has no output {', '.join(sorted(missing))}")
        self._outputs = list(outputs)
        self._requests = threading.local()

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """As :meth:`Network.run`."""
        if not hasattr(self._requests, "own"):
            self._requests.own = self._model.create_infer_request()
        found = self._requests.own.infer({INPUT_NAME: images})
        return {name: found[name] for name in self._outputs}


@cache
def _openvino_core() -> Any:
    """The one ``openvino.Core`` of this process, never destroyed; asked for under the lock.

    It gives the thread that first compiles a model a stack for signals; destroyed in another
    thread, it would free this stack, and the next signal, as of Ctrl-C, would be a crash.
    """
    # Importing OpenVINO reports to its maker, but where this package cannot be imported.
    reporter = "openvino_telemetry"
    hidden = reporter not in sys.modules
    if hidden:
        sys.modules[reporter] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        if hidden:
            del sys.modules[reporter]
    return openvino.Core()


def has_openvino() -> bool:
    """Whether OpenVINO is installed."""
    return find_spec("openvino") is not None


def read_onnx(path: Path, card: InferenceCard | None = None) -> bytes:
    """An ONNX file's content.

    Args:
        card: given, the file is held to its hash.

    Raises:
        ModelError: it is missing or changed, or holds something that is not in
            :mod:`ppcls_sspcab.runtime.operators`.
    """
    content = _read(path, card)
    check_onnx(content, str(path))
    return content


def _read(path: Path, card: InferenceCard | None) -> bytes:
    """A file's content, held to the card's hash if there is a card: what is read is what runs."""
    if card is not None:
        return card.read_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
