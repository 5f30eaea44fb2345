"""Several processes (``python -m paddle.distributed.launch``): who writes, what is averaged."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import paddle
from paddle import distributed, nn


def ranks() -> int:
    """How many processes ``paddle.distributed.launch`` started; 1 without it."""
    return distributed.get_world_size()


def is_first() -> bool:
    """Whether this process is rank 0, the only one that writes files."""
    return distributed.get_rank() == 0


def join() -> None:
    """Connects the processes; does nothing in a single one, or the second time."""
    if ranks() > 1 and not distributed.is_initialized():
        distributed.init_parallel_env()


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


def own_part(count: int) -> list[int]:
    """The indices 0 to ``count - 1`` that fall to this rank."""
    return list(range(distributed.get_rank(), count, ranks()))


def gathered(parts: Mapping[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """Joins what each rank computed for its :func:`own_part`, every index once and in order.

    Args:
        parts: float arrays whose first axis is the rank's own indices; on a rank without any, of
            length 0 there and otherwise of the same shape.
        count: number of indices over all ranks.
    """
    if ranks() == 1:
        return dict(parts)
    longest = -(-count // ranks())
    whole = {}
    for name, part in parts.items():
        padded = np.zeros((longest, *part.shape[1:]), part.dtype)
        padded[: len(part)] = part
        received: list[paddle.Tensor] = []
        distributed.all_gather(received, paddle.to_tensor(padded))
        # Rank r has the indices r, r + ranks, ...: side by side they are in order.
        joined = np.stack([tensor.numpy() for tensor in received], axis=1)
        whole[name] = joined.reshape(-1, *part.shape[1:])[:count]
    return whole
