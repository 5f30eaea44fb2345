"""What a place has more than those around it."""

from __future__ import annotations

import numpy as np
import paddle
from paddle import nn

from ppcls_sspcab.detector.resampling import mean_matrix

# Side of the square around a place, as a share of the map's: in a smaller one, large defects would
# be taken for their own surround.
SIDE = 0.5
DEFAULT_SURROUND = 0.75


class Surround(nn.Layer):
    """Takes off each place a share of the mean distance of the places around it.

    What is raised all around, by a lamp that differs or a part that lies otherwise, is no defect.

    Args:
        grid: (h, w) of the places.
        share: of the mean over the square around a place that is taken off it, in [0, 1].

    Raises:
        ValueError: ``share`` is not in [0, 1].
    """

    def __init__(self, grid: tuple[int, int], share: float) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"surround must lie in 0..1, not {share}")
        super().__init__()
        self.share = share
        rows, columns = (mean_matrix(places, 2 * int(SIDE * places / 2) + 1) for places in grid)
        self.register_buffer("rows", paddle.to_tensor(rows))
        self.register_buffer("columns", paddle.to_tensor(np.ascontiguousarray(columns.T)))

    def forward(self, distances: paddle.Tensor) -> paddle.Tensor:
        """float32 [N, h, w] to the like, which may be negative."""
        if not self.share:
            return distances
        around = paddle.matmul(paddle.matmul(self.rows, distances), self.columns)
        return distances - self.share * around
