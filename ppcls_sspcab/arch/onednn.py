"""A layer that is not trained, through Paddle Inference with oneDNN: far faster than eager mode."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from ppcls_sspcab.arch.modes import evaluation_mode
from ppcls_sspcab.utils.machine import cpu_threads
from ppcls_sspcab.utils.streams import quiet_stdout


class OneDNNLayer:
    """A layer compiled for the CPU, with the weights that it has now, in evaluation mode.

    Args:
        layer: maps images float32 [N, 3, H, W] to a tensor, or to a tuple of them.
        image_size: (H, W); the batch size is free.

    Called with images it returns the list of the layer's tensors.
    """

    def __init__(self, layer: nn.Layer, image_size: Sequence[int]) -> None:
        from paddle.inference import Config, create_predictor

        spec = paddle.static.InputSpec([None, 3, *image_size], "float32", "images")
        with (
            evaluation_mode(layer),
            tempfile.TemporaryDirectory(prefix="ppcls_sspcab_") as folder,
            quiet_stdout(),
        ):
            static = paddle.jit.to_static(layer, input_spec=[spec], full_graph=True)
            paddle.jit.save(static, str(Path(folder) / "layer"))
            config = Config(folder, "layer")
            config.disable_glog_info()
            config.disable_gpu()
            config.enable_mkldnn()
            # With oneDNN, Paddle 3.3.1 lets operators overwrite tensors that are also outputs.
            config.delete_pass("inplace_pass")
            config.set_cpu_math_library_num_threads(cpu_threads())
            self._predictor = create_predictor(config)
        self._input = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
        self._outputs = [
            self._predictor.get_output_handle(name) for name in self._predictor.get_output_names()
        ]
        with quiet_stdout():  # the first run of oneDNN's kernels prints to standard output
            self(paddle.zeros([1, 3, *image_size]))

    def __call__(self, images: paddle.Tensor) -> list[paddle.Tensor]:
        self._input.copy_from_cpu(np.ascontiguousarray(images.numpy()))
        try:
            self._predictor.run()
        finally:
            # Paddle Inference leaves the process's matrix products with one thread.
            paddle.base.core.set_num_threads(cpu_threads())
        return [paddle.to_tensor(output.copy_to_cpu()) for output in self._outputs]
