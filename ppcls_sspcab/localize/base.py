"""What every localizer shares: values of cells in, a map at network resolution out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import paddle

from ppcls_sspcab.localize.upsample import upsampling_matrix
from ppcls_sspcab.utils.fitted import FittedLayer

Features = Mapping[str, paddle.Tensor]
DEFAULT_SMOOTHING = 1 / 64  # 4 pixels of 256, as in PaDiM (Defard et al., ICPR 2020)


class Localizer(FittedLayer):
    """Gives an anomaly map, larger where it is worse.

    Args:
        image_size: (H, W) of the network's input.
        grid: (h, w), number of cells; H and W need not be multiples.
        smoothing: standard deviation of the blur, as a share of the shorter side.
        shapes: as :class:`FittedLayer` takes them.

    Attributes:
        needs: names of the features it reads, see
            :class:`ppcls_sspcab.arch.features.FeatureReader`.

    Raises:
        ValueError: ``smoothing`` is not in [0, 0.25].
    """

    needs: tuple[str, ...] = ()

    def __init__(
        self,
        image_size: Sequence[int],
        grid: Sequence[int],
        smoothing: float,
        shapes: Mapping[str, tuple[int | None, ...]],
    ) -> None:
        if not 0 <= smoothing <= 0.25:
            raise ValueError(f"smoothing must lie in 0..0.25, not {smoothing}")
        super().__init__(shapes)
        self.grid = (int(grid[0]), int(grid[1]))
        blur = smoothing * min(image_size)
        rows, columns = (
            upsampling_matrix(pixels, cells, blur)
            for pixels, cells in zip(image_size, self.grid, strict=True)
        )
        self.register_buffer("rows", paddle.to_tensor(rows))
        self.register_buffer("columns", paddle.to_tensor(np.ascontiguousarray(columns.T)))

    def cells(self, features: Features) -> paddle.Tensor:
        """What it keeps of a picture: float32 [N, d, h, w]. Part of the network's pass."""
        raise NotImplementedError

    def fit(self, cells: np.ndarray) -> None:
        """Learns good pictures.

        Args:
            cells: float32 [N, d, h, w], N >= 2, what :meth:`cells` gave.

        Raises:
            DataError: fewer than 2 pictures.
            ModelError: values that are not finite.
        """

    def distances(self, cells: paddle.Tensor) -> paddle.Tensor:
        """How far each cell is from good ones: float32 [N, d, h, w] -> [N, h, w], >= 0."""
        raise NotImplementedError

    def forward(self, cells: paddle.Tensor) -> paddle.Tensor:
        """float32 [N, d, h, w] -> anomaly map, float32 [N, H, W], not calibrated."""
        return paddle.matmul(paddle.matmul(self.rows, self.distances(cells)), self.columns)
