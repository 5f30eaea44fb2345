"""One Gaussian over the embeddings: CutPaste (Li et al., CVPR 2021), section 2.4."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import paddle

from ppcls_sspcab.detector.batches import Mapped
from ppcls_sspcab.detector.density.base import MAX_SCORE, Density, deviation_floor
from ppcls_sspcab.detector.moments import Moments
from ppcls_sspcab.registry import DENSITIES


@DENSITIES.register
class GaussianDensity(Density):
    """Scores by the Mahalanobis distance to the good pictures.

    The covariance S is shrunk after Ledoit and Wolf ("A well-conditioned estimator for
    large-dimensional covariance matrices", 2004), so fewer pictures than dimensions will do. It
    is kept as a factor W with W W^T = S^-1, and the score is ``|(x - mean) W|``: never negative,
    and exact in float32 where ``(x - mean) S^-1 (x - mean)^T`` would cancel.

    Directions in which good pictures differ by less than a network's rounding (constant
    embeddings, identical pictures) get a small positive variance instead of none.

    Args:
        embedding_size: D.
        normalize: whether embeddings are L2-normalised first.

    Buffers: ``mean`` float32 [D], ``whitening`` (W) float32 [D, D].
    """

    mean: paddle.Tensor
    whitening: paddle.Tensor

    def __init__(self, embedding_size: int, normalize: bool = True) -> None:
        super().__init__(embedding_size, normalize)
        self.declare({"mean": (embedding_size,), "whitening": (embedding_size, embedding_size)})

    def estimate(self, points: np.ndarray) -> dict[str, np.ndarray]:
        return self._of(Moments.of([points[None]]))

    def fit_batches(self, batches: Iterable[np.ndarray]) -> None:
        moments = Moments.of(Mapped(lambda batch: self.checked(batch)[None], batches))
        self.require_pictures(moments.count)
        self.load_arrays(self._of(moments))

    def _of(self, moments: Moments) -> dict[str, np.ndarray]:
        from scipy.linalg import cholesky, solve_triangular

        covariance, shrinkage = moments.ledoit_wolf()
        size, mean = self.embedding_size, moments.mean[0]
        # Shrinkage keeps every eigenvalue above this bound; only what is missing is added, so
        # that healthy data have exactly the Ledoit-Wolf covariance.
        variance = np.trace(covariance) / size
        floor = deviation_floor(float(variance + np.mean(mean**2)))
        ridge = max(0.0, floor**2 - shrinkage * variance)
        factor = cholesky(covariance + ridge * np.eye(size), lower=True)
        whitening = solve_triangular(factor, np.eye(size), lower=True).T
        return {"mean": mean, "whitening": whitening}

    def distances(self, points: paddle.Tensor) -> paddle.Tensor:
        whitened = paddle.matmul(points - self.mean, self.whitening)
        return (whitened * whitened).sum(axis=-1).clip(max=MAX_SCORE**2).sqrt()
