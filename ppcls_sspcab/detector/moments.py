"""Means and covariances of any number of points in one pass and in the memory of a few."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


class Moments:
    """Sums over points of several groups, from which mean and covariance of each follow.

    Sums are of differences from a fixed ``origin`` near the points, in float64, so that they lose
    nothing where the mean is large beside the spread.

    Args:
        origin: float64 [L, d], a point near those of each of L groups.

    Attributes:
        count: points of each group.
        first: float64 [L, d], second: float64 [L, d, d], sums of the differences and of their
            outer products.
    """

    def __init__(self, origin: np.ndarray) -> None:
        self.origin = np.asarray(origin, np.float64)
        groups, size = self.origin.shape
        self.count = 0
        self.first = np.zeros((groups, size))
        self.second = np.zeros((groups, size, size))
        # Of Ledoit and Wolf's formula: sums of |x|^2, |x|^2 x and |x|^4.
        self._squares = np.zeros(groups)
        self._cubes = np.zeros((groups, size))
        self._fourths = np.zeros(groups)

    @classmethod
    def of(cls, batches: Iterable[np.ndarray]) -> Moments:
        """The moments of points [L, n, d] each batch; the first batch's mean is the origin.

        Raises:
            ValueError: no batch.
        """
        found = None
        for points in batches:
            if found is None:
                found = cls(np.asarray(points, np.float64).mean(axis=1))
            found.add(points)
        if found is None:
            raise ValueError("there are no points")
        return found

    def add(self, points: np.ndarray) -> None:
        """Takes further points, float [L, n, d]."""
        moved = np.asarray(points, np.float64) - self.origin[:, None]
        squares = np.einsum("lnd,lnd->ln", moved, moved)
        self.count += moved.shape[1]
        self.first += moved.sum(axis=1)
        self.second += np.matmul(moved.transpose(0, 2, 1), moved)
        self._squares += squares.sum(axis=1)
        self._cubes += np.matmul(squares[:, None], moved)[:, 0]
        self._fourths += (squares**2).sum(axis=1)

    def merge(self, other: Moments, sign: int = 1) -> Moments:
        """The moments of both sets of points, or with ``sign`` -1 of those not in ``other``.

        Raises:
            ValueError: they have another origin.
        """
        if not np.array_equal(self.origin, other.origin):
            raise ValueError("moments about different origins do not add")
        joined = Moments(self.origin)
        for name, value in vars(self).items():
            if name != "origin":
                setattr(joined, name, value + sign * getattr(other, name))
        return joined

    @property
    def mean(self) -> np.ndarray:
        """float64 [L, d]."""
        return self.origin + self.first / self.count

    def scatter(self, mean: np.ndarray | None = None) -> np.ndarray:
        """Sums of the outer products about ``mean`` [L or 1, d], default their own: [L, d, d]."""
        centre = self.mean if mean is None else np.broadcast_to(mean, self.origin.shape)
        return self._about(self.origin - centre)[1]

    def _about(self, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and second sums after ``shift`` [L, d] is added to every difference."""
        cross = self.first[:, :, None] * shift[:, None]
        outer = self.count * shift[:, :, None] * shift[:, None]
        second = self.second + cross + cross.transpose(0, 2, 1) + outer
        return self.first + self.count * shift, second

    def ledoit_wolf(self) -> tuple[np.ndarray, float]:
        """The shrunk covariance [d, d] of a single group, and its shrinkage in [0, 1].

        Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices"
        (2004), lemma 3.3: shrunk towards the identity times the mean variance.
        """
        size, count = self.origin.shape[1], self.count
        covariance = self.scatter()[0] / count
        variance = np.trace(covariance) / size
        shift = -self.first[0] / count
        fourths = self._fourths_about(shift)
        apart = (np.sum(covariance**2) - size * variance**2) / size
        noise = (fourths / count - np.sum(covariance**2)) / (size * count)
        noise = min(max(noise, 0.0), apart)
        shrinkage = float(noise / apart) if noise > 0 else 0.0
        covariance = (1 - shrinkage) * covariance
        covariance[np.diag_indices(size)] += shrinkage * variance
        return covariance, shrinkage

    def _fourths_about(self, shift: np.ndarray) -> float:
        """The sum of ``|x + shift|^4`` over a single group's differences x."""
        first, second = self.first[0], self.second[0]
        length = shift @ shift
        return float(
            self._fourths[0]
            + 4 * shift @ second @ shift
            + self.count * length**2
            + 4 * self._cubes[0] @ shift
            + 2 * self._squares[0] * length
            + 4 * length * (first @ shift)
        )
