"""What a place has more than those around it."""

from __future__ import annotations

import numpy as np
import paddle
from paddle import nn

from ppcls_sspcab.detector.resampling import mean_matrix

# Half the picture: nearer than that, large defects would be taken for their own surround.
DEFAULT_SURROUND = 0.5


class Surround(nn.Layer):
    """Takes off each place the mean distance of the places around it.

    What is raised all around, by a lamp that differs or a part that lies otherwise, is no defect.

    Args:
        grid: (h, w) of the places.
        share: side of the square around a place, as a share of the map's; 0 takes nothing off.

    Raises:
        ValueError: ``share`` is not in [0, 1].
    """

    def __init__(self, grid: tuple[int, int], share: float) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"surround must lie in 0..1, not {share}")
        super().__init__()
        sides = [2 * int(share * places / 2) + 1 for places in grid]
        self.takes_off = max(sides) > 1
        if self.takes_off:
            rows, columns = (
                mean_matrix(places, side) for places, side in zip(grid, sides, strict=True)
            )
            self.register_buffer("rows", paddle.to_tensor(rows))
            self.register_buffer("columns", paddle.to_tensor(np.ascontiguousarray(columns.T)))

    def forward(self, distances: paddle.Tensor) -> paddle.Tensor:
        """float32 [N, h, w] to the like, which may be negative."""
        if not self.takes_off:
            return distances
        around = paddle.matmul(paddle.matmul(self.rows, distances), self.columns)
        return distances - around
