"""The base of all densities."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import paddle

from ppcls_sspcab.detector.batches import Mapped, sampled
from ppcls_sspcab.detector.fitted import FittedLayer

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
            ModelError: another D, or values that are not finite.
        """
        points = self.checked(embeddings)
        self.require_pictures(len(points))
        self.load_arrays(self.estimate(points))

    def fit_batches(self, batches: Iterable[np.ndarray]) -> None:
        """:meth:`fit` to any number of pictures, here to as many as memory holds, evenly spread.

        Args:
            batches: of embeddings, float [n, D] each.
        """
        self.fit(sampled(Mapped(lambda batch: [batch], batches))[0])

    def checked(self, embeddings: np.ndarray) -> np.ndarray:
        """Embeddings [n, D] as float64, normalised; raises ModelError as :meth:`fit`."""
        points = np.asarray(embeddings, np.float64)
        self.require_finite(points, (self.embedding_size,))
        if self.normalize:
            # Scaling by the maximum first keeps the squares within range.
            points = points / np.maximum(np.abs(points).max(axis=1, keepdims=True), 1e-12)
            points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
        return points

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


def deviation_floor(mean_square: float) -> float:
    """The smallest standard deviation of a component that is told from rounding; > 0.

    Args:
        mean_square: of the components of all points.
    """
    return RELATIVE_FLOOR * max(math.sqrt(mean_square), 1e-6)
