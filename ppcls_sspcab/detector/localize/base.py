"""What every localizer shares: values of cells in, a map at network resolution out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import paddle

from ppcls_sspcab.detector.fitted import FittedLayer
from ppcls_sspcab.detector.localize.upsample import upsampling_matrix
from ppcls_sspcab.errors import DataError, ModelError

Features = Mapping[str, paddle.Tensor]
DEFAULT_SMOOTHING = 1 / 64  # 4 pixels of 256, as in PaDiM (Defard et al., ICPR 2020)


class Localizer(FittedLayer):
    """Gives an anomaly map, larger where it is worse.

    Args:
        image_size: (H, W) of the network's input.
        grid: (h, w), number of cells; H and W need not be multiples.
        smoothing: standard deviation of the blur, as a share of the shorter side.
        shapes: as :class:`FittedLayer` takes them.
        upsampling: takes the pixels of a side, the cells along it and the blur's standard
            deviation in pixels; returns float32 [pixels, cells], each row with the sum 1.

    Attributes:
        needs: names of the features it reads, see
            :class:`ppcls_sspcab.arch.features.FeatureReader`.
        channels: d, numbers that :meth:`cells` keeps of a cell.
        input_pixels: pixels that it runs through the network beside the picture itself.

    Raises:
        ValueError: ``smoothing`` is not in [0, 0.25].
    """

    needs: tuple[str, ...] = ()
    channels = 1
    input_pixels = 0

    def __init__(
        self,
        image_size: Sequence[int],
        grid: Sequence[int],
        smoothing: float,
        shapes: Mapping[str, tuple[int | None, ...]],
        upsampling: Callable[[int, int, float], np.ndarray] = upsampling_matrix,
    ) -> None:
        if not 0 <= smoothing <= 0.25:
            raise ValueError(f"smoothing must lie in 0..0.25, not {smoothing}")
        super().__init__(shapes)
        self.grid = (int(grid[0]), int(grid[1]))
        blur = smoothing * min(image_size)
        rows, columns = (
            upsampling(pixels, cells, blur)
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

    def _require_good(self, cells: np.ndarray, channels: int) -> None:
        """Raises what :meth:`fit` says of cells that nothing can be learnt from."""
        kind, wanted = type(self).__name__, (channels, *self.grid)
        if cells.shape[1:] != wanted:
            raise ModelError(
                f"cells of shape {list(cells.shape)} do not fit a {kind} of "
                f"[N, {', '.join(map(str, wanted))}]"
            )
        if len(cells) < 2:
            raise DataError(f"{kind} needs at least 2 good pictures, got {len(cells)}")
        if not np.isfinite(cells).all():
            raise ModelError(
                "the network gives features that are not finite for good pictures: its training "
                "diverged, or its weights are damaged"
            )
