"""Running an exported model: pictures in, records out, without the code that trained it.

Needs numpy, Pillow, PyYAML and one runtime: Paddle, ONNX Runtime or OpenVINO.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from ppcls_sspcab.errors import UserError
from ppcls_sspcab.image.batches import judge_pictures
from ppcls_sspcab.image.decode import Source
from ppcls_sspcab.image.sources import as_pictures
from ppcls_sspcab.paths import INT8_FILE, ONNX_FILE, PADDLE_FILES
from ppcls_sspcab.result import Failure, Result, check_threshold, judge, normalized, without_map
from ppcls_sspcab.runtime.card import InferenceCard
from ppcls_sspcab.runtime.networks import Network, OnnxNetwork, OpenVinoNetwork, PaddleNetwork
from ppcls_sspcab.utils.paddle_import import import_paddle

Backend = Literal["paddle", "onnx", "openvino"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)


class Predictor:
    """An exported detector: from pictures to verdicts.

    May be shared between threads: decoding goes on side by side, and so does the network with
    ONNX Runtime and OpenVINO; Paddle's takes one batch at a time.

    Args:
        model_dir: folder that ``export`` wrote.
        backend: ``paddle``, ``onnx`` (ONNX Runtime), ``openvino`` (the same file), or ``auto``:
            Paddle if it is installed and its files are there, else ONNX Runtime.
        threads: of the computation; default: all physical cores of this process.
        device: ``cpu``, or ``gpu[:<number>]`` with the backend ``paddle``.
        threshold: decides instead of the calibrated one.
        onednn: of the backend ``paddle`` on the CPU, as in :class:`PaddleNetwork`.
        precision: ``int8`` takes what ``export --int8`` wrote, with the threshold of its own
            scores; ONNX Runtime only.

    Attributes:
        card: the model's contract.
        network: the model without decoding and judging; its input is what :meth:`prepare` makes.

    Raises:
        ModelError: a missing, changed or unreadable file.
        UserError: the runtime is not installed, or has no such device or precision.
        ValueError: a threshold that is no finite number.
    """

    def __init__(
        self,
        model_dir: str | os.PathLike[str],
        backend: Backend | Literal["auto"] = "auto",
        threads: int | None = None,
        device: str = "cpu",
        threshold: float | None = None,
        onednn: bool = True,
        precision: Literal["fp32", "int8"] = "fp32",
    ) -> None:
        self.card = InferenceCard.read(model_dir)
        judging = self.card.judging(precision)
        chosen = judging["threshold"] if threshold is None else threshold
        self.threshold, self.scale = float(check_threshold(chosen)), judging["scale"]
        if backend == "auto":
            backend = "onnx" if precision == "int8" else _choose(self.card)
        self.backend = backend
        self.network: Network
        if backend != "paddle" and device != "cpu":
            raise UserError(f"the backend {backend!r} runs on the CPU only, not on {device!r}")
        if backend != "onnx" and precision == "int8":
            raise UserError("the precision int8 is for the backend 'onnx' only")
        if backend == "paddle":
            self.network = PaddleNetwork(
                model_dir, self.card.outputs, threads, onednn, device, self.card
            )
        elif backend == "openvino":
            path = Path(model_dir) / ONNX_FILE
            self.network = OpenVinoNetwork(path, self.card.outputs, threads, self.card)
        else:
            name = INT8_FILE if precision == "int8" else ONNX_FILE
            self.network = OnnxNetwork(Path(model_dir) / name, threads, self.card)

    def predict(
        self, pictures: Source | Iterable[Source], batch_size: int = 8, maps: bool = True
    ) -> list[Result | Failure]:
        """Judges pictures.

        Args:
            pictures: paths, bytes of picture files, or uint8 pixels [H, W, 3] RGB (also [H, W] and
                [H, W, 4]), of any size; a single one is a list of one, and an array [N, H, W, 3]
                is N pictures.
            batch_size: pictures run at once, >= 1.
            maps: keep the anomaly maps, of a model that has the output ``map``. They take no time,
                since a run computes all outputs, but 4 bytes a pixel. Their 0.5 is the pixel
                threshold of the export: neither ``threshold`` nor ``calibrate`` moves it.

        Returns:
            one record a picture, in order; a :class:`Failure` for one that cannot be read.
        """
        records = self.stream(pictures, batch_size)
        return list(records if maps else map(without_map, records))

    def stream(
        self, pictures: Source | Iterable[Source], batch_size: int = 8
    ) -> Iterator[Result | Failure]:
        """As :meth:`predict`, one batch after the other, while the records are taken."""
        return judge_pictures(pictures, batch_size, self.card.preprocess.load, self.judge)

    def outputs(self, pictures: Source | Iterable[Source]) -> dict[str, np.ndarray]:
        """All outputs of the network for one batch, by name, such as ``embedding`` [N, D].

        ``normalized_score`` is that of the records: by ``inference.yml``, or by ``threshold``.

        Args:
            pictures: one or more, as :meth:`predict` takes them.

        Raises:
            ImageError: a picture that cannot be read.
        """
        load = self.card.preprocess.load
        found = self._run(np.stack([load(picture) for picture in as_pictures(pictures)]))
        threshold, scale = np.float32(self.threshold), np.float32(self.scale)
        return {**found, "normalized_score": normalized(found["score"], threshold, scale)}

    def prepare(self, pixels: np.ndarray) -> np.ndarray:
        """The graph's input of pictures uint8 [N, h, w, 3] at network size."""
        if self.card.input_type == "uint8":
            return pixels
        return self.card.preprocess.normalize(pixels)

    def judge(self, names: Sequence[str], pixels: np.ndarray) -> list[Result | Failure]:
        """One record a picture, of pictures that ``card.preprocess.load`` made.

        Args:
            names: N names, the ``path`` of the records.
            pixels: uint8 [N, h, w, 3] at network size, N >= 1.
        """
        found = self._run(pixels)
        maps = found["map"] if "map" in found else [None] * len(names)
        return [
            judge(name, score, self.threshold, self.scale, anomaly_map)
            for name, score, anomaly_map in zip(names, found["score"].tolist(), maps, strict=True)
        ]

    def _run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        size = self.card.pictures_at_once or len(pixels)
        parts = np.split(pixels, range(size, len(pixels), size))
        found = [self.network.run(self.prepare(part)) for part in parts]
        return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def runs_paddle(model_dir: str | os.PathLike[str], backend: str, precision: str) -> bool:
    """Whether a :class:`Predictor` of these will run in Paddle, told without loading it.

    So that a program can set Paddle's environment before (:mod:`ppcls_sspcab.utils.launcher`).
    """
    if backend == "auto" and precision == "fp32":
        exported = all((Path(model_dir) / name).is_file() for name in PADDLE_FILES)
        return exported and find_spec("paddle") is not None
    return backend == "paddle"


def _choose(card: InferenceCard) -> Backend:
    """Paddle before ONNX Runtime, among what was exported and is installed."""
    if set(PADDLE_FILES) <= set(card.files):
        try:
            import_paddle()
        except UserError:
            if ONNX_FILE not in card.files:
                raise UserError(
                    "this model was exported for Paddle only: pip install paddlepaddle, or "
                    "export it with --format paddle,onnx"
                ) from None
        else:
            return "paddle"
    return "onnx"
