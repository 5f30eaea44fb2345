"""A Gaussian for every place of the feature maps, after PaDiM (Defard et al., ICPR 2020)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import paddle

from ppcls_sspcab.detector.batches import LEFT_OUT_TOGETHER, Mapped
from ppcls_sspcab.detector.density.base import MAX_SCORE
from ppcls_sspcab.detector.fitted import FittedLayer
from ppcls_sspcab.detector.moments import Moments
from ppcls_sspcab.detector.places.gaussian_fit import estimate, shares_mean
from ppcls_sspcab.detector.places.principal import Channels, axis_count, principal_axes

AUTO_CHANNELS = 256
DEFAULT_RANK = 32  # a detector with map and fused score then takes less than 64 MiB
# The likelihood of good pictures asks for more on textures, where defects are then lost.
DEFAULT_SHRINKAGE = 0.35
FOLDS = 4
# Places that the choice is made on, evenly spread: neighbours are nearly equal.
TRIED_PLACES = 16


class PlaceGaussians(FittedLayer):
    """Mahalanobis distance of each place's features from those of good pictures there.

    Features are projected to their principal axes over all places of good pictures. Each place has
    a mean and a covariance, which is shrunk towards the covariance of all places, so ten pictures
    suffice; the mean may be one for all places, as suits a texture, which cross-validation decides
    by the likelihood of the good pictures that are left out of the fit. All is fitted by
    accumulated moments: exactly, to any number of pictures, in two passes over them.

    Args:
        shape: (C, h, w) of the features of a picture.
        channels: d <= C, the number of principal axes; ``auto`` is 256, or C where that is less.
        rank: r, directions in which a place has a variance of its own; in all others of the d it
            has their mean, so that a place takes d * r numbers instead of d * d.
        shrinkage: share of the covariance of all places in that of each, in (0, 1].

    Buffers, float32: ``projection`` [C, d], ``mean`` [L or 1, d], ``scale`` [L, 1] and
    ``directions`` [L, d, r] for L places.

    Raises:
        ValueError: a value out of range.
    """

    projection: paddle.Tensor
    mean: paddle.Tensor
    scale: paddle.Tensor
    directions: paddle.Tensor

    def __init__(
        self,
        shape: Sequence[int],
        channels: Channels = "auto",
        rank: int = DEFAULT_RANK,
        shrinkage: float = DEFAULT_SHRINKAGE,
    ) -> None:
        total, height, width = shape
        size = axis_count(channels, total, AUTO_CHANNELS)
        if rank < 1:
            raise ValueError(f"rank must be at least 1, not {rank}")
        if not 0 < shrinkage <= 1:
            raise ValueError(f"shrinkage must lie in (0, 1], not {shrinkage}")
        super().__init__()
        self.shrinkage = shrinkage
        self.shape = (total, height, width)
        self.axes = size
        self.rank = min(rank, size)
        self.declare(
            {
                "projection": (total, size),
                "mean": (None, size),
                "scale": (None, 1),
                "directions": (None, size, None),
            }
        )

    def fit_batches(self, cells: Iterable[np.ndarray]) -> None:
        """Learns good pictures.

        Args:
            cells: batches of features [n, C, h, w], gone through twice.

        Raises:
            DataError: fewer than 2 pictures.
            ModelError: another shape, or values that are not finite.
        """
        points = Mapped(self._points, cells)
        axes = principal_axes(points, self.axes)
        moments, folds = self._moments(Mapped(lambda found: found @ axes, points))
        self.require_pictures(moments.count)
        shared_mean = len(folds) > 1 and shares_mean(folds, self.shrinkage)
        found = estimate(moments, shared_mean, self.shrinkage, self.rank)
        self.load_arrays({**found._asdict(), "projection": axes @ found.projection})

    def _points(self, cells: np.ndarray) -> np.ndarray:
        """[n, C, h, w] to [L, n, C]."""
        self.require_finite(cells, self.shape)
        return cells.reshape(*cells.shape[:2], -1).transpose(2, 0, 1)

    def _moments(self, batches: Iterable[np.ndarray]) -> tuple[Moments, list[Moments]]:
        """Moments of all places, and of some places those of each fold of the pictures."""
        whole: Moments | None = None
        folds: list[Moments] = []
        for points in batches:
            step = -(-len(points) // TRIED_PLACES)
            if whole is None:
                whole = Moments(points.mean(axis=1))
                folds = [Moments(whole.origin[::step]) for _ in range(FOLDS)]
            turns = (whole.count + np.arange(points.shape[1])) // LEFT_OUT_TOGETHER % FOLDS
            whole.add(points)
            for number, fold in enumerate(folds):
                fold.add(points[::step, turns == number])
        assert whole is not None, "the principal axes were of these batches"
        return whole, [fold for fold in folds if fold.count]

    def forward(self, cells: paddle.Tensor) -> paddle.Tensor:
        """Features [N, C, h, w] to distances, float32 [N, h, w] in [0, 1e15]."""
        points = cells.flatten(2).transpose([2, 0, 1]).clip(min=-MAX_SCORE, max=MAX_SCORE)
        whitened = paddle.matmul(points, self.projection) - self.mean.unsqueeze(1)
        scaled = (whitened * self.scale.unsqueeze(1)).clip(min=-MAX_SCORE, max=MAX_SCORE)
        along = paddle.matmul(scaled, self.directions)
        squares = (scaled * scaled).sum(axis=-1) - (along * along).sum(axis=-1)
        distances = squares.clip(0, MAX_SCORE**2).sqrt()
        return distances.transpose([1, 0]).reshape([-1, *self.shape[1:]])
