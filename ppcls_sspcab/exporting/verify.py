"""Comparing an exported model with the detector it was made of, in every runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppcls_sspcab.errors import ModelError
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.paths import ONNX_FILE
from ppcls_sspcab.runtime.networks import (
    OnnxNetwork,
    OpenVinoNetwork,
    PaddleNetwork,
    has_openvino,
)
from ppcls_sspcab.utils.logger import get_logger

TOLERANCE = 1e-3

Run = Callable[[np.ndarray], dict[str, np.ndarray]]


def verify(
    folder: Path,
    outputs: Sequence[str],
    formats: Sequence[str],
    images: np.ndarray,
    expected: dict[str, np.ndarray],
    scale: float,
) -> dict[str, Any]:
    """Runs ``images`` in every runtime that there is, and compares with the detector's own outputs.

    OpenVINO need not be installed.

    Returns:
        the entry ``verification`` of ``inference.yml``.

    Raises:
        ModelError: an output of another shape, not finite, or too different.
    """
    differences = {}
    for name, run in _runtimes(folder, outputs, formats):
        differences[name] = _compare(name, run, images, expected, scale)
        get_logger().info(f"{name}: worst relative difference of the score {differences[name]:.1e}")
    return {"pictures": len(images), "worst_relative_difference": differences}


def _runtimes(
    folder: Path, outputs: Sequence[str], formats: Sequence[str]
) -> Iterator[tuple[str, Run]]:
    yield "paddle_onednn", PaddleNetwork(folder, outputs, onednn=True).run
    yield "paddle", PaddleNetwork(folder, outputs, onednn=False).run
    if "onnx" in formats:
        yield "onnxruntime", OnnxNetwork(folder / ONNX_FILE).run
        if has_openvino():
            yield "openvino", OpenVinoNetwork(folder / ONNX_FILE, outputs).run


def _compare(
    runtime: str, run: Run, images: np.ndarray, expected: dict[str, np.ndarray], scale: float
) -> float:
    """Worst relative difference of the score, with the pictures in one batch and one by one.

    Relative to the score, or to ``scale`` where the score is smaller: a log density may be 0.
    """
    single = [run(images[index : index + 1]) for index in range(len(images))]
    joined = {name: np.concatenate([part[name] for part in single]) for name in single[0]}
    worst = 0.0
    for found in (run(images), joined):
        for name, values in expected.items():
            if found[name].shape != values.shape or not np.isfinite(found[name]).all():
                raise ModelError(
                    f"{runtime}: output {name!r} has shape {found[name].shape} (expected "
                    f"{values.shape}) or values that are no numbers; nothing was exported"
                )
        # The normalised score is a function of the score, with a slope that has no bound.
        for name in set(expected) - {"score", "normalized_score"}:
            _require_close(runtime, name, _distance(found[name], expected[name]))
        score, reference = found["score"].astype(np.float64), expected["score"].astype(np.float64)
        relative = np.abs(score - reference) / np.maximum(np.abs(reference), scale)
        worst = max(worst, float(relative.max()))
    _require_close(runtime, "score", worst)
    return worst


def _distance(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference, relative to the largest value."""
    largest = float(np.abs(expected).max())
    return float(np.abs(found - expected).max()) / max(largest, 1e-12)


def _require_close(runtime: str, output: str, difference: float) -> None:
    if not difference <= TOLERANCE:
        raise ModelError(
            f"{runtime}: {output} differs from the detector's by {difference:.1e} (relative), "
            f"more than {TOLERANCE:g}; nothing was exported"
        )


@paddle.no_grad()
def eager_outputs(detector: nn.Layer, images: np.ndarray) -> dict[str, np.ndarray]:
    """The detector's outputs in eager mode; raises ModelError where one is not finite."""
    found = {name: value.numpy() for name, value in detector(paddle.to_tensor(images)).items()}
    for name, values in found.items():
        if not np.isfinite(values).all():
            raise ModelError(f"the detector's own {name} is no number; is its density fitted?")
    return found


def noise(preprocess: Preprocess) -> np.ndarray:
    """Four pictures of squares of random colours, uint8 [4, h, w, 3] at network size."""
    height, width = preprocess.image_size
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (4, -(-height // 8), -(-width // 8), 3), np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]
