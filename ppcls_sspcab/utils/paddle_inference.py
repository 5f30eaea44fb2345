"""Paddle Inference, set up once for exported models and for layers that are not trained."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ppcls_sspcab.errors import UserError
from ppcls_sspcab.utils.machine import cpu_threads
from ppcls_sspcab.utils.streams import quiet_stdout


class PaddleProgram:
    """A program and its weights, as ``paddle.jit.save`` wrote them, in Paddle Inference.

    One Paddle predictor is not made for several threads: a lock lets one batch in at a time.

    Args:
        program: the ``.json`` file.
        weights: the ``.pdiparams`` file.
        threads: of the computation; default: all physical cores of this process.
        onednn: run on the CPU by oneDNN, about five times faster than without.
        device: ``cpu``, ``gpu`` or ``gpu:<number>``.

    Attributes:
        outputs: Paddle's own names of the outputs, in the program's order.

    Raises:
        ImportError: Paddle is not installed.
        UserError: Paddle has no GPU support, and one is asked for.
        Exception: Paddle cannot load the files; its checks raise nearly every built-in type.
    """

    def __init__(
        self,
        program: str | os.PathLike[str],
        weights: str | os.PathLike[str],
        threads: int | None = None,
        onednn: bool = True,
        device: str = "cpu",
    ) -> None:
        from paddle.inference import Config, create_predictor

        config = Config(os.fspath(program), os.fspath(weights))
        config.disable_glog_info()
        # With oneDNN, Paddle 3.3.1 lets operators overwrite tensors that are also outputs.
        config.delete_pass("inplace_pass")
        if device == "cpu":
            config.disable_gpu()
            config.set_cpu_math_library_num_threads(threads or cpu_threads())
            (config.enable_mkldnn if onednn else config.disable_mkldnn)()
            if onednn:
                # Else it keeps its kernels of every batch size that it ever saw.
                config.set_mkldnn_cache_capacity(1)
        else:
            _use_gpu(config, device)
        with quiet_stdout():
            self._predictor = create_predictor(config)
        self._input = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
        self.outputs: list[str] = self._predictor.get_output_names()
        self._handles = [self._predictor.get_output_handle(name) for name in self.outputs]
        self._lock = threading.Lock()
        self._run: Callable[[], Any] = self._first_run

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        """Runs one batch, of any size, and returns the outputs in the program's order."""
        with self._lock:
            self._input.copy_from_cpu(np.ascontiguousarray(images))
            self._run()
            return [handle.copy_to_cpu() for handle in self._handles]

    def _first_run(self) -> None:
        # The first run of oneDNN's kernels prints to standard output.
        with quiet_stdout():
            self._predictor.run()
        self._run = self._predictor.run


def _use_gpu(config: Any, device: str) -> None:
    import paddle

    kind, _, number = device.partition(":")
    if kind != "gpu" or not re.fullmatch("[0-9]{0,4}", number):
        raise UserError(f"device must be cpu, gpu or gpu:<number>, not {device!r}")
    if not paddle.is_compiled_with_cuda():
        raise UserError(
            f"this Paddle was built without GPU support: device {device!r} is not there"
        )
    config.enable_use_gpu(256, int(number or 0))
