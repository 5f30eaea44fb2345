"""The network through Paddle Inference with oneDNN, several times faster than eager mode."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from ppcls_sspcab.detector import Detector
from ppcls_sspcab.utils.launcher import cpu_threads


class OneDNNEmbedding:
    """``network.embed`` compiled for the CPU, with the weights that the network has now.

    Args:
        network: has ``embed(images float32 [N, 3, H, W]) -> float32 [N, D]``.
        image_size: (height, width) of the pictures; the batch size is free.
    """

    def __init__(self, network: nn.Layer, image_size: tuple[int, int]) -> None:
        from paddle.inference import Config, create_predictor

        was_training = network.training
        network.eval()
        spec = paddle.static.InputSpec([None, 3, *image_size], "float32", "images")
        with tempfile.TemporaryDirectory(prefix="ppcls_sspcab_") as folder:
            static = paddle.jit.to_static(_Embed(network), input_spec=[spec], full_graph=True)
            paddle.jit.save(static, str(Path(folder) / "network"))
            config = Config(folder, "network")
            config.disable_glog_info()
            config.disable_gpu()
            config.enable_mkldnn()
            config.set_cpu_math_library_num_threads(cpu_threads())
            self._predictor = create_predictor(config)
        if was_training:
            network.train()
        self._input = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
        self._output = self._predictor.get_output_handle(self._predictor.get_output_names()[0])

    def __call__(self, images: paddle.Tensor) -> paddle.Tensor:
        self._input.copy_from_cpu(np.ascontiguousarray(images.numpy()))
        self._predictor.run()
        return paddle.to_tensor(self._output.copy_to_cpu())


class _Embed(nn.Layer):
    def __init__(self, network: nn.Layer) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        return self.network.embed(images)


@contextmanager
def accelerated(detector: Detector, image_size: tuple[int, int]) -> Iterator[Detector]:
    """On a CPU, the detector's network runs by oneDNN inside the block; a GPU needs no help."""
    if not paddle.device.get_device().startswith("cpu"):
        yield detector
        return
    with detector.embedding_by(OneDNNEmbedding(detector.network, image_size)):
        yield detector
