"""Values of many pictures, batch by batch, that may be gone through more than once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

import numpy as np

S = TypeVar("S")
T = TypeVar("T")

# Rows that are left out of a fit together: two in a row may be versions of one picture.
LEFT_OUT_TOGETHER = 2

# Memory of the values that :func:`sampled` keeps.
SAMPLED_BYTES = 256 << 20


class Mapped(Generic[S, T]):
    """``function(batch)`` of every batch, made anew each time it is gone through."""

    def __init__(self, function: Callable[[S], T], batches: Iterable[S]) -> None:
        self._function = function
        self._batches = batches

    def __iter__(self) -> Iterator[T]:
        return map(self._function, self._batches)


def sampled(batches: Iterable[Sequence[np.ndarray]], limit: int = 0) -> list[np.ndarray]:
    """The rows of all batches, or as many, evenly spread, as memory holds.

    Args:
        batches: sequences of arrays [n, ...], the same number of arrays and of rows in each.
        limit: bytes that the kept rows may take; default ``SAMPLED_BYTES``.

    Returns:
        the arrays of the kept rows, [N, ...] each.
    """
    limit = limit or SAMPLED_BYTES
    kept: list[list[np.ndarray]] = []
    seen, step = 0, 1
    for batch in batches:
        wanted = range(-seen % step, len(batch[0]), step)
        seen += len(batch[0])
        # Copies: a view of a row would keep its whole batch in memory.
        kept += [[array[index].copy() for array in batch] for index in wanted]
        while len(kept) > 2 and len(kept) * sum(array.nbytes for array in kept[0]) > limit:
            kept, step = kept[::2], 2 * step
    return [np.stack(rows) for rows in zip(*kept, strict=True)]
