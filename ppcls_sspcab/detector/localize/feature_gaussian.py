"""A Gaussian for every place of the feature maps, after PaDiM (Defard et al., ICPR 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import paddle
from paddle import nn

from ppcls_sspcab.arch.features import BACKBONE, FeatureReader, last_layers
from ppcls_sspcab.arch.paths import find_layer
from ppcls_sspcab.detector.density.base import MAX_SCORE, deviation_floor
from ppcls_sspcab.detector.localize.base import DEFAULT_SMOOTHING, Features, Localizer
from ppcls_sspcab.detector.localize.projection import orthogonal
from ppcls_sspcab.detector.localize.upsample import upsampling_matrix
from ppcls_sspcab.registry import LOCALIZERS

AUTO_STRIDES = (4, 8)
MAX_CELLS = 400
# Values of ``Fit.shrinkage`` that are tried; 1 is one covariance for all places.
SHRINKAGES = (0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 0.95, 1.0)
FOLDS = 4
# Places that the choice is made on, evenly spread: neighbours are nearly equal.
TRIED_PLACES = 64


class Fit(NamedTuple):
    """What :func:`likeliest_fit` chooses.

    Attributes:
        shared_mean: one mean for all places (a texture) or one for each (an object).
        shrinkage: share of the covariance of all places in that of each place, in [0, 1].
    """

    shared_mean: bool
    shrinkage: float


@LOCALIZERS.register
class FeatureGaussian(Localizer):
    """Mahalanobis distance of each place's features from those of good pictures there.

    The maps of several layers are brought to one grid of at most 400 cells, the finest of theirs
    or the coarsest halved, and projected to ``channels`` numbers by a fixed orthogonal matrix.
    Each place has a mean and a covariance, which is shrunk towards the covariance of all places;
    the mean may be one for all places, as suits a texture. Cross-validation decides both, by the
    likelihood of the good pictures that are left out of the fit; so ten pictures suffice.

    Args:
        layers: paths of layers of the backbone, or ``auto``: the last ones of stride 4 and 8.
            Deeper ones see further than the defect and smear it.
        channels: d, at most the channels of all layers together.
        smoothing: standard deviation of the upsampling's Gaussian, as a share of the shorter side.

    Buffers, float32: ``projection<i>`` [d, C, 1, 1] for layer i of C channels, ``mean``
    [L or 1, d] and ``whitening`` [L or 1, d, d] for L places.

    Raises:
        ValueError: ``channels`` out of range.
        ConfigError: a path that names no layer.
    """

    mean: paddle.Tensor
    whitening: paddle.Tensor

    def __init__(
        self,
        network: nn.Layer,
        image_size: Sequence[int],
        layers: list[str] | Literal["auto"] = "auto",
        channels: int = 64,
        smoothing: float = DEFAULT_SMOOTHING,
    ) -> None:
        paths = last_layers(network, image_size, AUTO_STRIDES) if layers == "auto" else list(layers)
        if not paths:
            raise ValueError("layers must name at least one layer of the backbone")
        for path in paths:
            find_layer(network.backbone, path, "Localize.layers")
        needs = tuple(BACKBONE + path for path in paths)
        shapes = FeatureReader(network, needs).shapes(image_size)
        sizes = [shapes[name] for name in needs]
        total = sum(size[1] for size in sizes)
        if not 1 <= channels <= total:
            raise ValueError(f"channels must lie in 1..{total}, not {channels}")
        grid = _grid([size[2:] for size in sizes])
        super().__init__(network, image_size, smoothing, cell_shape=(channels, *grid))
        self.needs = needs
        for index, size in enumerate(sizes):
            self.declare({f"projection{index}": (channels, size[1], 1, 1)})
        self.declare({"mean": (None, channels), "whitening": (None, channels, channels)})
        parts = np.split(orthogonal(total, channels), np.cumsum([s[1] for s in sizes])[:-1])
        for index, (part, size) in enumerate(zip(parts, sizes, strict=True)):
            self._hold(f"projection{index}", part.T[:, :, None, None])
            self._hold(f"down{index}", _resizing(size[2], grid[0]))
            self._hold(f"across{index}", _resizing(size[3], grid[1]).T)

    def _hold(self, name: str, values: np.ndarray) -> None:
        self.register_buffer(name, paddle.to_tensor(np.ascontiguousarray(values)))

    def cells(self, features: Features) -> paddle.Tensor:
        parts = []
        for index, name in enumerate(self.needs):
            found = features[name]
            if tuple(found.shape[2:]) != self.grid:
                found = self._on_grid(found, index)
            parts.append(nn.functional.conv2d(found, getattr(self, f"projection{index}")))
        return paddle.add_n(parts)

    def _on_grid(self, found: paddle.Tensor, index: int) -> paddle.Tensor:
        # Paddle 3.3.1 with oneDNN multiplies four dimensions by two wrongly, three rightly.
        planes = paddle.matmul(getattr(self, f"down{index}"), found.flatten(0, 1))
        planes = paddle.matmul(planes, getattr(self, f"across{index}"))
        return planes.reshape([-1, found.shape[1], *self.grid])

    def fit(self, cells: np.ndarray) -> None:
        self.require_good(cells, self.cell_shape)
        points = cells.reshape(len(cells), self.channels, -1).transpose(2, 0, 1)
        points = np.ascontiguousarray(points, np.float64)
        chosen = likeliest_fit(points[:: -(-len(points) // TRIED_PLACES)])
        mean, whitening = _estimate(points, chosen)
        self.load_arrays(self.arrays() | {"mean": mean, "whitening": whitening})

    def distances(self, cells: paddle.Tensor) -> paddle.Tensor:
        height, width = self.grid
        points = cells.flatten(2).transpose([2, 0, 1]).clip(min=-MAX_SCORE, max=MAX_SCORE)
        centred = points - self.mean.unsqueeze(1)
        # One matrix for all places needs no batch of products.
        whitening = self.whitening if self.whitening.shape[0] > 1 else self.whitening[0]
        whitened = paddle.matmul(centred, whitening)
        squares = (whitened * whitened).sum(axis=-1).clip(max=MAX_SCORE**2)
        return squares.sqrt().transpose([1, 0]).reshape([-1, height, width])


def likeliest_fit(points: np.ndarray) -> Fit:
    """The fit under which left-out pictures are likeliest, by cross-validation.

    Args:
        points: float64 [L, N, d], N >= 2 pictures at L places.
    """
    fits = [Fit(shared, shrinkage) for shared in (False, True) for shrinkage in SHRINKAGES]
    costs = np.zeros(len(fits))
    count = points.shape[1]
    folds = np.arange(count) % min(FOLDS, count)
    for fold in range(min(FOLDS, count)):
        fitted, left_out = points[:, folds != fold], points[:, folds == fold]
        costs += np.concatenate([_costs(fitted, left_out, shared) for shared in (False, True)])
    return fits[int(np.argmin(costs))]


def _costs(points: np.ndarray, left_out: np.ndarray, shared_mean: bool) -> np.ndarray:
    """Minus the log likelihood of left-out points for each shrinkage, but for a constant.

    Where the covariance of all places is the identity, a shrunk one has the eigenvectors of the
    place's own, whatever the shrinkage.
    """
    mean, whitening = _estimate(points, Fit(shared_mean, 1.0))
    log_volume = np.log(np.diagonal(whitening[0])).sum() * left_out[..., 0].size
    centred = np.matmul(points - mean[:, None], whitening[0])
    freedom = points.shape[1] if shared_mean else max(points.shape[1] - 1, 1)
    own = np.matmul(centred.transpose(0, 2, 1), centred) / freedom
    values, vectors = np.linalg.eigh(own)
    whitened = np.matmul(np.matmul(left_out - mean[:, None], whitening[0]), vectors)
    squares = np.sum(whitened**2, axis=1)
    costs = []
    for shrinkage in SHRINKAGES:
        variances = (1 - shrinkage) * values.clip(0) + shrinkage
        log_variances = np.log(variances).sum() * left_out.shape[1]
        costs.append(0.5 * (np.sum(squares / variances) + log_variances) - log_volume)
    return np.array(costs)


def _estimate(points: np.ndarray, fit: Fit) -> tuple[np.ndarray, np.ndarray]:
    """Means [L or 1, d] and upper triangular whitening [L or 1, d, d] of points [L, N, d]."""
    places, count, size = points.shape
    mean = points.mean(axis=1)
    if fit.shared_mean:
        mean = mean.mean(axis=0, keepdims=True)
    centred = points - mean[:, None]
    flat = centred.reshape(-1, size)
    # A mean that was fitted to the same pictures takes away one of them.
    freedom = count if fit.shared_mean else max(count - 1, 1)
    covariance = (flat.T @ flat)[None] / (places * freedom)
    if fit.shrinkage < 1:
        own = np.matmul(centred.transpose(0, 2, 1), centred) / freedom
        covariance = (1 - fit.shrinkage) * own + fit.shrinkage * covariance
    ridge = deviation_floor(flat + mean.mean(axis=0)) ** 2
    factor = np.linalg.cholesky(covariance + ridge * np.eye(size))
    return mean, np.linalg.inv(factor).transpose(0, 2, 1)


def _grid(sizes: Sequence[tuple[int, ...]]) -> tuple[int, int]:
    fitting = [size for size in sizes if size[0] * size[1] <= MAX_CELLS]
    height, width = max(fitting) if fitting else min(sizes)
    while height * width > MAX_CELLS:
        height, width = -(-height // 2), -(-width // 2)
    return height, width


def _resizing(cells: int, wanted: int) -> np.ndarray:
    """float32 [wanted, cells]: means over what a wanted cell covers, or linear interpolation."""
    if wanted >= cells:
        return upsampling_matrix(wanted, cells, 0.0)
    edges = np.arange(wanted + 1) * cells / wanted
    starts = np.arange(cells)
    covered = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    return (covered.clip(0) * wanted / cells).astype(np.float32)
