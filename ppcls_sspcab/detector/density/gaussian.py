"""One Gaussian over the embeddings: CutPaste (Li et al., CVPR 2021), section 2.4."""

from __future__ import annotations

import numpy as np
import paddle

from ppcls_sspcab.detector.density.base import MAX_SCORE, Density, deviation_floor
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
        from scipy.linalg import cholesky, solve_triangular
        from sklearn.covariance import LedoitWolf

        estimate = LedoitWolf(store_precision=False).fit(points)
        size = self.embedding_size
        # Shrinkage keeps every eigenvalue above this bound; only what is missing is added, so
        # that healthy data have exactly the Ledoit-Wolf covariance.
        bound = estimate.shrinkage_ * np.trace(estimate.covariance_) / size
        ridge = max(0.0, deviation_floor(points) ** 2 - bound)
        factor = cholesky(estimate.covariance_ + ridge * np.eye(size), lower=True)
        whitening = solve_triangular(factor, np.eye(size), lower=True).T
        return {"mean": estimate.location_, "whitening": whitening}

    def distances(self, points: paddle.Tensor) -> paddle.Tensor:
        whitened = paddle.matmul(points - self.mean, self.whitening)
        return (whitened * whitened).sum(axis=-1).clip(max=MAX_SCORE**2).sqrt()
