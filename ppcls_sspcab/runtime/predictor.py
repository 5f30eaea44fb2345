"""Running an exported model: pictures in, records out, without the code that trained it.

Needs numpy, Pillow, PyYAML and one runtime: Paddle or ONNX Runtime.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from ppcls_sspcab.errors import ModelError, UserError
from ppcls_sspcab.runtime.card import INPUT_NAME, INT8_FILE, ONNX_FILE, PADDLE_FILES, InferenceCard
from ppcls_sspcab.runtime.image import ImageError, Source
from ppcls_sspcab.runtime.result import Failure, Result, judge
from ppcls_sspcab.utils.launcher import cpu_threads
from ppcls_sspcab.utils.streams import stdout_to_stderr

Backend = Literal["paddle", "onnx"]

_OTHER_WORK = re.compile(
    r"(save|load|read|print|py_func|py_layer|run_program|send|recv|p_send|p_recv|partial_send|"
    r"partial_recv|listen|create_\w*reader|decode_jpeg)(_combine|_file|_v2|_array|_and_serv)?_?"
)


class Network(Protocol):
    """A model in one of the runtimes; calls from several threads are allowed."""

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Maps a batch to the model's outputs, by name."""
        ...


class PaddlePredictor:
    """``inference.json`` and ``inference.pdiparams`` in Paddle Inference.

    One Paddle predictor is not made for several threads: a lock lets one batch in at a time.

    Args:
        folder: where the two files lie.
        outputs: names of the outputs, in the graph's order (the graph has none of its own).
        threads: of the computation; default: all physical cores of this process.
        onednn: run on the CPU by oneDNN, about five times faster than without.
        device: ``cpu``, ``gpu`` or ``gpu:<number>``.

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
        try:
            from paddle.inference import Config, create_predictor
        except ImportError as error:
            raise UserError(
                f"the backend 'paddle' needs Paddle ({error}): pip install paddlepaddle (or the "
                "GPU build), or take the backend 'onnx'"
            ) from error
        _refuse_other_work(Path(folder) / PADDLE_FILES[0])
        config = Config(str(Path(folder) / PADDLE_FILES[0]), str(Path(folder) / PADDLE_FILES[1]))
        config.disable_glog_info()
        # Paddle 3.3.1: with oneDNN this pass lets operators overwrite tensors that are needed
        # later, such as the embedding, which is also an output.
        config.delete_pass("inplace_pass")
        if device == "cpu":
            config.disable_gpu()
            config.set_cpu_math_library_num_threads(threads or cpu_threads())
            if onednn:
                config.enable_mkldnn()
            else:
                config.disable_mkldnn()
        else:
            _use_gpu(config, device)
        try:
            with stdout_to_stderr():
                self._predictor = create_predictor(config)
        except Exception as error:  # Paddle's checks raise nearly every built-in type
            raise ModelError(f"{folder}: Paddle cannot load the model: {error}") from error
        found = self._predictor.get_output_names()
        if len(found) != len(outputs):
            raise ModelError(f"{folder}: the model has {len(found)} outputs, not {len(outputs)}")
        self._outputs = dict(zip(outputs, found, strict=True))
        self._lock = threading.Lock()
        self._has_run = False

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Runs one batch, of any size.

        Args:
            images: the graph's input: float32 [N, 3, h, w] or uint8 [N, h, w, 3].

        Returns:
            the outputs by name; ``score`` float32 [N] is among them.
        """
        with self._lock:
            handle = self._predictor.get_input_handle(INPUT_NAME)
            handle.copy_from_cpu(np.ascontiguousarray(images))
            if self._has_run:
                self._predictor.run()
            else:
                # The first run of oneDNN's kernels prints to standard output.
                with stdout_to_stderr():
                    self._predictor.run()
                self._has_run = True
            return {
                name: self._predictor.get_output_handle(found).copy_to_cpu()
                for name, found in self._outputs.items()
            }


class OnnxPredictor:
    """``model.onnx`` in ONNX Runtime on the CPU; runs of several threads go on side by side.

    Args:
        path: the model's file.
        threads: of one run's computation; default: all physical cores of this process.

    Raises:
        UserError: ONNX Runtime is not installed.
        ModelError: it cannot load the file.
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
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise ModelError(f"{path}: ONNX Runtime cannot load the model: {error}") from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """As :meth:`PaddlePredictor.run`."""
        outputs = self._session.run(self._outputs, {INPUT_NAME: images})
        return dict(zip(self._outputs, outputs, strict=True))


class Predictor:
    """An exported detector: from pictures to verdicts.

    May be shared between threads: decoding goes on side by side, and so does the network with
    ONNX Runtime; Paddle's takes one batch at a time.

    Args:
        model_dir: folder that ``export`` wrote.
        backend: ``paddle``, ``onnx``, or ``auto``: Paddle if it is installed and its files are
            there, else ONNX Runtime.
        threads: of the computation; default: all physical cores of this process.
        device: ``cpu``, or ``gpu[:<number>]`` with the backend ``paddle``.
        threshold: decides instead of the calibrated one.
        onednn: of the backend ``paddle`` on the CPU, as in :class:`PaddlePredictor`.
        precision: ``int8`` takes what ``export --int8`` wrote; ONNX Runtime only.

    Attributes:
        card: the model's contract.
        network: the model without decoding and judging; its input is what :meth:`prepare` makes.

    Raises:
        ModelError: a missing, changed or unreadable file.
        UserError: the runtime is not installed, or has no such device or precision.
    """

    def __init__(
        self,
        model_dir: str | os.PathLike[str],
        backend: Literal["paddle", "onnx", "auto"] = "auto",
        threads: int | None = None,
        device: str = "cpu",
        threshold: float | None = None,
        onednn: bool = True,
        precision: Literal["fp32", "int8"] = "fp32",
    ) -> None:
        self.card = InferenceCard.read(model_dir)
        self.threshold = self.card.threshold if threshold is None else float(threshold)
        if backend == "auto":
            backend = "onnx" if precision == "int8" else _choose(self.card)
        self.backend = backend
        self.network: Network
        if self.backend == "onnx":
            if device != "cpu":
                raise UserError(f"the backend 'onnx' runs on the CPU only, not on {device!r}")
            name = INT8_FILE if precision == "int8" else ONNX_FILE
            self.card.check_files(model_dir, [name])
            self.network = OnnxPredictor(Path(model_dir) / name, threads)
        else:
            if precision == "int8":
                raise UserError("the precision int8 is for the backend 'onnx' only")
            self.card.check_files(model_dir, PADDLE_FILES)
            self.network = PaddlePredictor(model_dir, self.card.outputs, threads, onednn, device)

    def predict(self, images: Sequence[Source], batch_size: int = 8) -> list[Result | Failure]:
        """Judges pictures.

        Args:
            images: paths, bytes of picture files, or uint8 pixels [H, W, 3] RGB (also [H, W] and
                [H, W, 4]), of any size.
            batch_size: pictures run at once, >= 1.

        Returns:
            one record a picture, in order; a :class:`Failure` for one that cannot be read.
        """
        return list(self.stream(images, batch_size))

    def stream(self, images: Iterable[Source], batch_size: int = 8) -> Iterator[Result | Failure]:
        """As :meth:`predict`, one batch after the other, while the records are taken."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        waiting = iter(images)
        while batch := list(islice(waiting, batch_size)):
            yield from self._judge(batch)

    def outputs(self, images: Sequence[Source]) -> dict[str, np.ndarray]:
        """All outputs of the network for one batch, by name, such as ``embedding`` [N, D].

        ``normalized_score`` is that of the records: by ``inference.yml``, or by ``threshold``.

        Raises:
            ImageError: a picture that cannot be read.
        """
        found = self._run(np.stack([self.card.preprocess.load(image) for image in images]))
        judging = replace(self.card, threshold=self.threshold)
        return {**found, "normalized_score": judging.normalized(found["score"])}

    def prepare(self, pixels: np.ndarray) -> np.ndarray:
        """The graph's input of pictures uint8 [N, h, w, 3] at network size."""
        if self.card.input_type == "uint8":
            return pixels
        return self.card.preprocess.normalize(pixels)

    def _judge(self, batch: Sequence[Source]) -> Iterator[Result | Failure]:
        loaded = [self._load(source) for source in batch]
        pixels = [picture for picture in loaded if not isinstance(picture, ImageError)]
        scores = iter(self._run(np.stack(pixels))["score"].tolist() if pixels else ())
        for source, picture in zip(batch, loaded, strict=True):
            if isinstance(picture, ImageError):
                yield Failure(picture.name, picture.reason)
            else:
                yield judge(_name(source), next(scores), self.threshold, self.card.scale)

    def _load(self, source: Source) -> np.ndarray | ImageError:
        try:
            return self.card.preprocess.load(source)
        except ImageError as error:
            return error

    def _run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        size = self.card.pictures_at_once or len(pixels)
        parts = np.split(pixels, range(size, len(pixels), size))
        found = [self.network.run(self.prepare(part)) for part in parts]
        return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def _name(source: Source) -> str:
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    return "<array>" if isinstance(source, np.ndarray) else "<bytes>"


def _refuse_other_work(program: Path) -> None:
    """Does nothing if a program only computes.

    Paddle's operators include some that read and write files, call Python and open connections;
    no detector has a use for them.

    Raises:
        ModelError: it has such an operator, or is no program.
    """
    try:
        waiting = [json.loads(program.read_bytes())]
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{program}: cannot be read: {error}") from error
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            operator = str(value.get("#", "")).rpartition(".")[2]
            if _OTHER_WORK.fullmatch(operator):
                raise ModelError(f"{program}: refused: its operator {operator!r} does not compute")
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _choose(card: InferenceCard) -> Backend:
    """Paddle before ONNX Runtime, among what was exported and is installed."""
    if set(PADDLE_FILES) <= set(card.files):
        try:
            import paddle.inference  # noqa: F401 - only whether it is there
        except ImportError:
            if ONNX_FILE not in card.files:
                raise UserError(
                    "this model was exported for Paddle only: pip install paddlepaddle, or "
                    "export it with --format paddle,onnx"
                ) from None
        else:
            return "paddle"
    return "onnx"


def _use_gpu(config: Any, device: str) -> None:
    import paddle

    kind, _, number = device.partition(":")
    if kind != "gpu" or not (number or "0").isdigit():
        raise UserError(f"device must be cpu, gpu or gpu:<number>, not {device!r}")
    if not paddle.is_compiled_with_cuda():
        raise UserError(
            f"this Paddle was built without GPU support: device {device!r} is not there"
        )
    config.enable_use_gpu(256, int(number or 0))
