"""The base of all localizers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import paddle
from paddle import nn

from ppcls_sspcab.arch.features import FeatureReader
from ppcls_sspcab.detector.batches import Mapped, sampled
from ppcls_sspcab.detector.fitted import FittedLayer
from ppcls_sspcab.detector.places.surround import Surround
from ppcls_sspcab.detector.resampling import upsampling_matrix

Features = Mapping[str, paddle.Tensor]
DEFAULT_SMOOTHING = 1 / 64  # 4 pixels of 256, as in PaDiM (Defard et al., ICPR 2020)


class Localizer(FittedLayer):
    """Gives an anomaly map at the resolution of the network's input, larger where it is worse.

    A subclass names in ``needs`` the features that it reads and defines :meth:`distances`; it may
    define :meth:`fit`, and :meth:`cells` where a cell is more than a place of the first feature.

    Args:
        network: as :class:`ppcls_sspcab.arch.features.FeatureReader` takes it.
        image_size: (H, W) of the network's input.
        smoothing: standard deviation of the blur, as a share of the shorter side.
        surround: share of :class:`ppcls_sspcab.detector.places.surround.Surround`.
        cell_shape: (d, h, w) of what :meth:`cells` gives for a picture; H and W need not be
            multiples of h and w. Default: what it gives for features of zeros.
        upsampling: takes the pixels of a side, the cells along it and the blur's standard
            deviation in pixels; returns float32 [pixels, cells], each row with the sum 1.

    Attributes:
        needs: names of the features it reads, see
            :class:`ppcls_sspcab.arch.features.FeatureReader`.
        channels: d. ``grid``: (h, w). ``cell_shape``: (d, h, w).
        input_pixels: pixels that it runs through the network beside the picture itself.

    Raises:
        ValueError: ``smoothing`` not in [0, 0.25], ``surround`` not in [0, 1], or nothing of shape
            [N, d, h, w] is read.
    """

    needs: tuple[str, ...] = ()
    input_pixels = 0

    def __init__(
        self,
        network: nn.Layer,
        image_size: Sequence[int],
        smoothing: float = DEFAULT_SMOOTHING,
        surround: float = 0.0,
        cell_shape: Sequence[int] | None = None,
        upsampling: Callable[[int, int, float], np.ndarray] = upsampling_matrix,
    ) -> None:
        if not 0 <= smoothing <= 0.25:
            raise ValueError(f"smoothing must lie in 0..0.25, not {smoothing}")
        super().__init__()
        channels, *grid = cell_shape or self._shape_of_cells(network, image_size)
        self.channels = int(channels)
        self.grid = (int(grid[0]), int(grid[1]))
        blur = smoothing * min(image_size)
        rows, columns = (
            upsampling(pixels, cells, blur)
            for pixels, cells in zip(image_size, self.grid, strict=True)
        )
        self.register_buffer("rows", paddle.to_tensor(rows))
        self.register_buffer("columns", paddle.to_tensor(np.ascontiguousarray(columns.T)))
        self.surround = Surround(self.grid, surround)

    @property
    def cell_shape(self) -> tuple[int, int, int]:
        return self.channels, *self.grid

    def cells(self, features: Features) -> paddle.Tensor:
        """What is kept of a picture, float32 [N, d, h, w]: here the first feature it needs.

        It is part of the network's pass, so it may hold nothing that is fitted.

        Args:
            features: those it needs, float32 [N, ...] each.
        """
        return features[self.needs[0]]

    def fit(self, cells: np.ndarray) -> None:
        """Learns good pictures.

        Args:
            cells: float32 [N, d, h, w], N >= 2, what :meth:`cells` gave.

        Raises:
            DataError, ModelError: nothing can be fitted to them.
        """

    def fit_batches(self, cells: Iterable[np.ndarray]) -> None:
        """:meth:`fit` of any number of pictures, here to as many, evenly spread, as memory holds.

        Args:
            cells: batches [n, d, h, w], that may be gone through more than once.
        """
        self.fit(sampled(Mapped(lambda batch: [batch], cells))[0])

    def distances(self, cells: paddle.Tensor) -> paddle.Tensor:
        """How far each cell is from good ones: float32 [N, d, h, w] -> [N, h, w]."""
        raise NotImplementedError

    def forward(self, cells: paddle.Tensor) -> paddle.Tensor:
        """float32 [N, d, h, w] -> anomaly map, float32 [N, H, W], not calibrated."""
        found = self.surround(self.distances(cells))
        return paddle.matmul(paddle.matmul(self.rows, found), self.columns)

    def _shape_of_cells(self, network: nn.Layer, image_size: Sequence[int]) -> list[int]:
        kind = type(self).__name__
        if not self.needs:
            raise ValueError(f"{kind} must say in 'needs' which features it reads")
        shapes = FeatureReader(network, self.needs).shapes(image_size)
        with paddle.no_grad():
            found = self.cells({name: paddle.zeros(shapes[name]) for name in self.needs})
        if found.ndim != 4:
            raise ValueError(f"{kind}.cells must be of shape [N, d, h, w], not {found.shape}")
        return found.shape[1:]
