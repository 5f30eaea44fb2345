"""Where Paddle computes."""

from __future__ import annotations

import paddle

from ppcls_sspcab.errors import ConfigError


def use_device(device: str) -> None:
    """Lets Paddle compute on the CPU, or on its GPU.

    Args:
        device: ``cpu``, ``gpu``, or ``auto``: the GPU where Paddle has one.

    Raises:
        ConfigError: ``gpu``, and Paddle finds none.
    """
    has_gpu = paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if device == "gpu" and not has_gpu:
        raise ConfigError(
            "Global.device",
            "this Paddle finds no GPU; install paddlepaddle-gpu, or set cpu or auto",
        )
    paddle.set_device("gpu" if has_gpu and device != "cpu" else "cpu")
