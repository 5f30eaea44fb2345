"""Principal axes of features, from their moments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np

from ppcls_sspcab.detector.batches import Mapped
from ppcls_sspcab.detector.moments import Moments

Channels = int | Literal["auto"]


def axis_count(channels: Channels, total: int, usual: int) -> int:
    """How many axes ``channels`` asks for; ``auto``: ``usual``, or all where they are fewer.

    Raises:
        ValueError: none, or more than the ``total`` of the features.
    """
    if channels == "auto":
        return min(usual, total)
    if not 1 <= channels <= total:
        raise ValueError(f"channels must lie in 1..{total}, not {channels}")
    return channels


def principal_axes(batches: Iterable[np.ndarray], count: int) -> np.ndarray:
    """The ``count`` directions in which features differ most over all places and pictures.

    Args:
        batches: features [L, n, C] of n pictures at L places each.

    Returns:
        float64 [C, count], orthonormal columns, the largest variance first; each points where its
        largest component is positive.
    """
    moments = Moments.of(Mapped(lambda points: points.reshape(1, -1, points.shape[-1]), batches))
    vectors = np.linalg.eigh(moments.scatter()[0])[1][:, ::-1][:, :count]
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(count)])
    return vectors * np.where(signs == 0, 1, signs)
