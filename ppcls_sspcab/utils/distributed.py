"""Several processes (``python -m paddle.distributed.launch``): who writes, what is averaged."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import paddle
from paddle import distributed, nn

from ppcls_sspcab.utils.logger import get_logger


def ranks() -> int:
    """How many processes ``paddle.distributed.launch`` started; 1 without it."""
    return distributed.get_world_size()


def is_first() -> bool:
    """Whether this process is rank 0, the only one that writes files."""
    return distributed.get_rank() == 0


def join() -> None:
    """Connects the processes, if there are several and they are not connected yet."""
    if ranks() > 1 and not distributed.is_initialized():
        distributed.init_parallel_env()
        if not is_first():
            get_logger().setLevel(logging.WARNING)


def wait_for_first() -> None:
    """Holds every rank until rank 0, which may be writing what they will read, is here too."""
    if ranks() > 1:
        distributed.barrier()


def averaged(figures: Mapping[str, float]) -> dict[str, float]:
    """The mean of each figure over the ranks, which all call it with the same names."""
    if ranks() == 1:
        return dict(figures)
    values = paddle.to_tensor(list(figures.values()), "float64")
    distributed.all_reduce(values)
    return dict(zip(figures, (values / ranks()).tolist(), strict=True))


@paddle.no_grad()
def average_statistics(network: nn.Layer) -> None:
    """Gives every rank the mean of the ranks' BatchNorm statistics.

    While training, each rank normalises by its own part of the batch and so arrives at statistics
    of its own; all other parameters are alike.
    """
    if ranks() == 1:
        return
    for layer in network.sublayers(include_self=True):
        for name in ("_mean", "_variance"):
            value = getattr(layer, name, None)
            if isinstance(value, paddle.Tensor):
                distributed.all_reduce(value)
                value.set_value(value / ranks())


def exchanged(outputs: Mapping[str, np.ndarray], rows: int) -> list[dict[str, np.ndarray]]:
    """What every rank gives, on every rank: a list in the order of the ranks.

    Args:
        outputs: arrays of up to ``rows`` rows; the same names and row shapes on all ranks. A rank
            with fewer gets zeros after its own.
    """
    received: list[dict[str, np.ndarray]] = [{} for _ in range(ranks())]
    for name, array in outputs.items():
        padded = np.zeros((rows, *array.shape[1:]), array.dtype)
        padded[: len(array)] = array
        parts: list[paddle.Tensor] = []
        distributed.all_gather(parts, paddle.to_tensor(padded))
        for part, whole in zip(parts, received, strict=True):
            whole[name] = part.numpy()
    return received
