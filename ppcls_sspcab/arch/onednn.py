"""A layer that is not trained, through Paddle Inference with oneDNN: far faster than eager mode."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import paddle
from paddle import nn

from ppcls_sspcab.arch.modes import evaluation_mode
from ppcls_sspcab.utils.machine import cpu_threads
from ppcls_sspcab.utils.paddle_inference import PaddleProgram
from ppcls_sspcab.utils.static_graph import static_graph
from ppcls_sspcab.utils.streams import quiet_stdout


class OneDNNLayer:
    """A layer compiled for the CPU, with the weights that it has now, in evaluation mode.

    Called with images it returns the list of the layer's tensors.

    Args:
        layer: maps images float32 [N, 3, H, W] to a tensor, or to a tuple of them.
        image_size: (H, W); the batch size is free.
    """

    def __init__(self, layer: nn.Layer, image_size: Sequence[int]) -> None:
        spec = paddle.static.InputSpec([None, 3, *image_size], "float32", "images")
        with (
            evaluation_mode(layer),
            tempfile.TemporaryDirectory(prefix="ppcls_sspcab_") as folder,
            quiet_stdout(),
        ):
            static = static_graph(layer, input_spec=[spec])
            path = Path(folder) / "layer"
            paddle.jit.save(static, str(path))
            self._program = PaddleProgram(path.with_suffix(".json"), path.with_suffix(".pdiparams"))

    def __call__(self, images: paddle.Tensor) -> list[paddle.Tensor]:
        try:
            found = self._program.run(images.numpy())
        finally:
            # Paddle Inference leaves the process's matrix products with one thread.
            paddle.base.core.set_num_threads(cpu_threads())
        return [paddle.to_tensor(output) for output in found]
