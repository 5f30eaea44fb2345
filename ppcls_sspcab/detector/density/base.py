"""The base of all densities."""

from __future__ import annotations

import numpy as np
import paddle

from ppcls_sspcab.detector.fitted import FittedLayer
from ppcls_sspcab.errors import DataError, ModelError

# The smallest standard deviation that is believed, as a part of the embeddings' root mean square:
# below it lies what float32 and another runtime change in a network's output.
RELATIVE_FLOOR = 1e-3
MAX_SCORE = 1e15


class Density(FittedLayer):
    """A density of the embeddings of good pictures; its buffers are all it has learnt.

    A subclass declares its buffers and defines :meth:`estimate` and :meth:`distances`. Before
    :meth:`fit` or :meth:`load_arrays` every score is NaN, so that a density nobody fitted cannot
    call a picture good.

    Args:
        embedding_size: D.
        normalize: whether embeddings are L2-normalised first, as the CutPaste paper does.
    """

    def __init__(self, embedding_size: int, normalize: bool = True) -> None:
        super().__init__()
        self.embedding_size = embedding_size
        self.normalize = normalize

    def fit(self, embeddings: np.ndarray) -> None:
        """Fits the density to good pictures, in place of what it was fitted to before.

        Args:
            embeddings: float [N, D], N >= 2, of good pictures without augmentation.

        Raises:
            DataError: fewer than 2 pictures.
            ModelError: another shape, or values that are not finite.
        """
        points = self._checked(embeddings)
        if self.normalize:
            # Scaling by the maximum first keeps the squares within range.
            points = points / np.maximum(np.abs(points).max(axis=1, keepdims=True), 1e-12)
            points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
        self.load_arrays(self.estimate(points))

    def forward(self, embedding: paddle.Tensor) -> paddle.Tensor:
        """Scores embeddings; finite for every finite embedding.

        Args:
            embedding: float32 [N, D], as the network gives it.

        Returns:
            float32 [N] in [0, 1e15]; larger is worse.
        """
        if self.normalize:
            embedding = embedding / embedding.abs().max(axis=-1, keepdim=True).clip(min=1e-12)
            norm = (embedding * embedding).sum(axis=-1, keepdim=True).sqrt()
            embedding = embedding / norm.clip(min=1e-12)
        else:
            embedding = embedding.clip(min=-MAX_SCORE, max=MAX_SCORE)
        return self.distances(embedding)

    def score(self, embeddings: np.ndarray) -> np.ndarray:
        """:meth:`forward` for NumPy arrays: float [N, D] to float32 [N]."""
        with paddle.no_grad():
            return self(paddle.to_tensor(np.asarray(embeddings, np.float32))).numpy()

    def estimate(self, points: np.ndarray) -> dict[str, np.ndarray]:
        """The values of the buffers, by name, fitted to good pictures.

        Args:
            points: float64 [N, D], N >= 2, finite, already normalised.
        """
        raise NotImplementedError

    def distances(self, points: paddle.Tensor) -> paddle.Tensor:
        """Anomaly scores, float32 [N], larger is worse.

        Args:
            points: float32 [N, D], already normalised.
        """
        raise NotImplementedError

    def _checked(self, embeddings: np.ndarray) -> np.ndarray:
        points = np.asarray(embeddings, np.float64)
        if points.ndim != 2 or points.shape[1] != self.embedding_size:
            raise ModelError(
                f"embeddings of shape {list(points.shape)} do not fit a "
                f"{type(self).__name__} of [N, {self.embedding_size}]"
            )
        if len(points) < 2:
            raise DataError(
                f"{type(self).__name__} needs the embeddings of at least 2 good pictures, "
                f"got {len(points)}: add good pictures or hold out fewer"
            )
        broken = np.flatnonzero(~np.isfinite(points).all(axis=1))
        if len(broken):
            raise ModelError(
                f"the network gives embeddings that are not finite for {len(broken)} of "
                f"{len(points)} good pictures (first: number {broken[0]}): its training diverged "
                "(lower Optimizer's learning rate) or its weights are damaged"
            )
        return points


def deviation_floor(points: np.ndarray) -> float:
    """The smallest standard deviation of a component that is told from rounding; > 0."""
    return RELATIVE_FLOOR * max(float(np.sqrt(np.mean(points**2))), 1e-6)
