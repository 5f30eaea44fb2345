"""A memory bank of patch features, after PatchCore (Roth et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import paddle

from ppcls_sspcab.detector.batches import Mapped, sampled
from ppcls_sspcab.detector.density.base import MAX_SCORE
from ppcls_sspcab.detector.fitted import FittedLayer
from ppcls_sspcab.detector.places.principal import Channels, axis_count, principal_axes

# Places that a coreset is chosen from, and those whose distances are computed at once.
MOST_CANDIDATES = 40_000
AUTO_CHANNELS = 128
_BLOCK = 8192


class MemoryBank(FittedLayer):
    """Distance of each place's features from the nearest that good pictures have anywhere.

    Of all places of good pictures a greedy coreset is kept: each next one is the furthest from
    those chosen before (section 3.2).

    Args:
        shape: (C, h, w) of the features of a picture.
        channels: d <= C, principal axes that they are projected to; ``auto`` is 128, or C where
            that is less.
        size: patches that the bank keeps.
        position: weight of a place's row and column, from 0 to 1 across the picture, against its
            features, whose mean squared length is 1; 0 finds a neighbour anywhere.

    Buffers, float32: ``projection`` [C, d] and ``bank`` [size or fewer, d + 2].

    Raises:
        ValueError: a value out of range.
    """

    projection: paddle.Tensor
    bank: paddle.Tensor

    def __init__(
        self, shape: Sequence[int], channels: Channels, size: int, position: float = 0.0
    ) -> None:
        total, height, width = shape
        axes = axis_count(channels, total, AUTO_CHANNELS)
        if size < 1:
            raise ValueError(f"size must be at least 1, not {size}")
        if position < 0:
            raise ValueError(f"position must not be negative, not {position}")
        super().__init__()
        self.shape, self.axes, self.size = (total, height, width), axes, size
        where = position * grid_positions(height, width)
        self.register_buffer("positions", paddle.to_tensor(where))
        self.declare({"projection": (total, axes), "bank": (None, axes + 2)})

    def fit_batches(self, cells: Iterable[np.ndarray]) -> None:
        """Fills the bank.

        Args:
            cells: batches of features [n, C, h, w], gone through several times.

        Raises:
            DataError: fewer than 2 pictures. ModelError: values that are not finite.
        """
        count, square = 0, 0.0
        points = Mapped(self._points, cells)
        axes = principal_axes(points, self.axes)
        for found in points:
            count += found.shape[1]
            square += float(np.sum((found @ axes) ** 2)) / len(found)
        self.require_pictures(count)
        projection = axes / max(np.sqrt(square / count), 1e-12)
        places = self.shape[1] * self.shape[2]
        coordinates = self.positions.numpy()

        def located(batch: np.ndarray) -> list[np.ndarray]:
            projected = (batch @ projection).astype(np.float32)
            where = np.broadcast_to(coordinates[:, None], (*projected.shape[:2], 2))
            return [np.concatenate([projected, where], axis=-1).transpose(1, 0, 2)]

        limit = max(2, MOST_CANDIDATES // places) * places * 4 * (self.axes + 2)
        candidates = sampled(Mapped(located, points), limit)[0]
        bank = greedy_coreset(candidates.reshape(-1, self.axes + 2), self.size)
        self.load_arrays({"projection": projection, "bank": bank})

    def _points(self, cells: np.ndarray) -> np.ndarray:
        """[n, C, h, w] to [L, n, C]."""
        self.require_finite(cells, self.shape)
        return cells.reshape(*cells.shape[:2], -1).transpose(2, 0, 1)

    def forward(self, cells: paddle.Tensor) -> paddle.Tensor:
        """Features [N, C, h, w] to distances from the nearest in the bank, float32 [N, h, w]."""
        points = cells.flatten(2).transpose([0, 2, 1]).clip(min=-MAX_SCORE, max=MAX_SCORE)
        points = paddle.matmul(points, self.projection)
        here = self.positions
        features, where = self.bank[:, : self.axes], self.bank[:, self.axes :]
        lengths = (self.bank * self.bank).sum(axis=-1)
        # |p - b|^2 without |p|^2, which does not change the nearest, for the place's part once.
        apart = lengths - 2 * paddle.matmul(here, where, transpose_y=True)
        found = apart - 2 * paddle.matmul(points, features, transpose_y=True)
        own = (points * points).sum(axis=-1) + (here * here).sum(axis=-1)
        squares = (found.min(axis=-1) + own).clip(0, MAX_SCORE**2)
        return squares.sqrt().reshape([-1, *self.shape[1:]])


def greedy_coreset(points: np.ndarray, size: int) -> np.ndarray:
    """At most ``size`` of the points, each the furthest from those chosen before.

    The first is the one nearest to the mean. Distances are computed block by block.

    Args:
        points: float32 [N, d].

    Returns:
        float32 [min(size, N), d].
    """
    lengths = np.einsum("nd,nd->n", points, points)
    chosen = int(np.argmin(_squares(points, lengths, points.mean(axis=0))))
    nearest = np.full(len(points), np.inf, np.float32)
    order = []
    for _ in range(min(size, len(points))):
        order.append(chosen)
        np.minimum(nearest, _squares(points, lengths, points[chosen]), out=nearest)
        nearest[chosen] = -1.0
        chosen = int(np.argmax(nearest))
    return points[order]


def _squares(points: np.ndarray, lengths: np.ndarray, one: np.ndarray) -> np.ndarray:
    """Squared distances of points [N, d] from one [d]."""
    found = np.empty(len(points), np.float32)
    for start in range(0, len(points), _BLOCK):
        part = slice(start, start + _BLOCK)
        found[part] = lengths[part] - 2 * (points[part] @ one) + one @ one
    return found


def grid_positions(height: int, width: int) -> np.ndarray:
    """float32 [h * w, 2]: row and column of each place, as shares of the sides."""
    rows, columns = np.divmod(np.arange(height * width), width)
    return np.stack([(rows + 0.5) / height, (columns + 0.5) / width], axis=1).astype(np.float32)
