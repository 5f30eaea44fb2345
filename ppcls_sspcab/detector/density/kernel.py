"""A kernel density over the embeddings: CutPaste (Li et al., CVPR 2021), section 2.1."""

from __future__ import annotations

import numpy as np
import paddle

from ppcls_sspcab.detector.batches import LEFT_OUT_TOGETHER
from ppcls_sspcab.detector.density.base import MAX_SCORE, Density, deviation_floor
from ppcls_sspcab.registry import DENSITIES

# Pictures that the bandwidth is fitted on: the distances of all pairs are held in memory.
MAX_BANDWIDTH_POINTS = 2000


@DENSITIES.register
class KernelDensity(Density):
    """Scores by the negative log density of Gaussian kernels on the good pictures.

    ``score = -log(mean_i exp(-|x - x_i|^2 / (2 h^2)))``: the negative log density less the
    constant ``D/2 log(2 pi h^2)``, hence 0 at the least.

    Args:
        embedding_size: D.
        normalize: whether embeddings are L2-normalised first.
        bandwidth: h, in the unit of the (normalised) embedding; by default the one with the
            greatest likelihood of the good pictures, each pair in a row left out of the others.

    Buffers, float32: ``center`` [D], ``support`` [N, D] (good pictures less the centre),
    ``bandwidth`` [1].

    Raises:
        ValueError: a bandwidth that is not positive.
    """

    center: paddle.Tensor
    support: paddle.Tensor
    bandwidth: paddle.Tensor

    def __init__(
        self, embedding_size: int, normalize: bool = True, bandwidth: float | None = None
    ) -> None:
        if bandwidth is not None and not 0 < bandwidth < float("inf"):
            raise ValueError(f"bandwidth must be greater than 0, not {bandwidth}")
        super().__init__(embedding_size, normalize)
        size = embedding_size
        self.declare({"center": (size,), "support": (None, size), "bandwidth": (1,)})
        self._given_bandwidth = bandwidth

    def estimate(self, points: np.ndarray) -> dict[str, np.ndarray]:
        center = points.mean(axis=0)
        bandwidth = self._given_bandwidth or likeliest_bandwidth(points)
        return {"center": center, "support": points - center, "bandwidth": np.array([bandwidth])}

    def distances(self, points: paddle.Tensor) -> paddle.Tensor:
        # Both sides are centred: the expanded square loses what is common to all embeddings.
        points = ((points - self.center) / self.bandwidth).clip(min=-MAX_SCORE, max=MAX_SCORE)
        support = self.support / self.bandwidth
        products = paddle.matmul(points, support, transpose_y=True)
        squares = (points * points).sum(axis=-1, keepdim=True) + (support * support).sum(axis=-1)
        exponents = (0.5 * squares - products).clip(min=0.0, max=MAX_SCORE)
        nearest = exponents.min(axis=-1, keepdim=True)
        kernels = (nearest - exponents).exp().mean(axis=-1)
        return nearest.squeeze(-1) - kernels.log()


def likeliest_bandwidth(points: np.ndarray) -> float:
    """The kernel width that maximises the leave-two-out likelihood; float64 [N, D], N >= 2.

    Two in a row are left out together, as they may be versions of one picture. Copies of a picture
    count once, as else its likelihood would grow without end towards h = 0.
    """
    from scipy.optimize import minimize_scalar
    from scipy.spatial.distance import pdist, squareform

    floor = deviation_floor(float(np.mean(points**2)))
    size = points.shape[1]
    distinct, rows = np.unique(points, axis=0, return_index=True)
    step = -(-len(distinct) // MAX_BANDWIDTH_POINTS)
    groups = rows[::step] // LEFT_OUT_TOGETHER
    if len(np.unique(groups)) < 2:
        groups = rows[::step]
    distances = squareform(pdist(distinct[::step]))
    distances[groups[:, None] == groups] = np.inf
    nearest = distances.min(axis=1)
    # At the optimum D h^2 is a weighted mean of squared distances: that bounds h on both sides.
    low = np.sqrt(np.mean(nearest**2) / size)
    if len(distances) < 2 or low <= floor:
        return floor
    excess = distances**2 - nearest[:, None] ** 2

    def cost(log_width: float) -> float:
        """Minus the mean log likelihood, less what does not depend on the width."""
        halved = 0.5 * np.exp(-2.0 * log_width)
        kernels = np.exp(-excess * halved).sum(axis=1)
        return float(size * log_width + np.mean(nearest**2 * halved - np.log(kernels)))

    high = distances[np.isfinite(distances)].max() / np.sqrt(size)
    grid = np.linspace(np.log(low) - 1e-6, np.log(high) + 1e-6, 24)
    best = int(np.argmin([cost(log_width) for log_width in grid]))
    bounds = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    return float(np.exp(minimize_scalar(cost, bounds=bounds, method="bounded").x))
