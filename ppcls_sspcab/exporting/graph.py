"""The detector as a static graph, for Paddle Inference."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from ppcls_sspcab.errors import ModelError
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.paths import PADDLE_FILES
from ppcls_sspcab.runtime.card import INPUT_NAME
from ppcls_sspcab.runtime.operators import checked_program
from ppcls_sspcab.utils.static_graph import static_graph

_BYTES = {"0.t_f32": 4, "0.t_f64": 8, "0.t_i32": 4, "0.t_i64": 8, "0.t_f16": 2, "0.t_bf16": 2}


class DetectorGraph(nn.Layer):
    """The detector with its outputs in a fixed order, since exported graphs keep no names.

    Args:
        preprocess: given, the input is uint8 [N, h, w, 3], and the graph normalises it.
    """

    def __init__(
        self, detector: nn.Layer, outputs: Sequence[str], preprocess: Preprocess | None
    ) -> None:
        super().__init__()
        self.detector = detector
        self.outputs = list(outputs)
        self.takes_pixels = preprocess is not None
        if preprocess is not None:
            mean, std = np.array(preprocess.mean), np.array(preprocess.std)
            for name, values in (("factor", 1 / (255 * std)), ("shift", mean / std)):
                array = values.astype(np.float32).reshape(1, 3, 1, 1)
                self.register_buffer(name, paddle.to_tensor(array))

    def forward(self, images: paddle.Tensor) -> tuple[paddle.Tensor, ...]:
        if self.takes_pixels:
            images = images.transpose([0, 3, 1, 2]).astype("float32") * self.factor - self.shift
        found = self.detector(images)
        return tuple(found[name] for name in self.outputs)


def save_paddle(graph: DetectorGraph, preprocess: Preprocess, folder: Path) -> None:
    """Writes ``inference.json`` and ``inference.pdiparams``, for any batch size.

    Raises:
        ModelError: an operator that no exported model may hold, or files that are not whole.
    """
    height, width = preprocess.image_size
    pixels = graph.takes_pixels
    spec = paddle.static.InputSpec(
        [None, height, width, 3] if pixels else [None, 3, height, width],
        "uint8" if pixels else "float32",
        INPUT_NAME,
    )
    graph.eval()
    static = static_graph(graph, input_spec=[spec])
    paddle.jit.save(static, str(folder / "inference"))
    _require_whole(*(folder / name for name in PADDLE_FILES))


def _require_whole(program: Path, weights: Path) -> None:
    """On a full disk Paddle writes a part of each file and says nothing."""
    content = json.loads(checked_program(program.read_bytes(), program.name))
    expected = 0
    for operator in content["program"]["regions"][0]["blocks"][0]["ops"]:
        if operator["#"] == "p":
            kind, shape, *_ = operator["O"]["TT"]["D"]
            expected += math.prod(shape) * _BYTES.get(kind["#"], 1)
    found = weights.stat().st_size if weights.exists() else 0
    if found < expected:
        raise ModelError(f"{weights.name}: Paddle wrote {found} bytes of {expected} or more")
