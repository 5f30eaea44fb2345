"""What every image score shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import paddle

from ppcls_sspcab.detector.density.base import Density
from ppcls_sspcab.detector.fitted import FittedLayer

Features = Mapping[str, paddle.Tensor]
DensityFactory = Callable[[], Density]


class ImageScore(FittedLayer):
    """One number a picture, larger for worse parts.

    Attributes:
        name: its registered name.
        needs: names of the features it reads, see
            :class:`ppcls_sspcab.arch.features.FeatureReader`.
        needs_map: whether it reads the anomaly map.
    """

    name: str
    needs: tuple[str, ...] = ()
    needs_map = False

    @property
    def part_count(self) -> int:
        """P, how many numbers :meth:`parts` returns."""
        return 1

    def candidates(self) -> list[ImageScore]:
        """The scores that this one stands for; most stand for themselves."""
        return [self]

    def split(self, parts: np.ndarray) -> list[np.ndarray]:
        """Parts [N, P] of each candidate, [N, P of the candidate] each."""
        return [parts]

    def fit(self, features: Mapping[str, np.ndarray]) -> None:
        """Learns good pictures.

        Args:
            features: those it needs, float32 [N, ...] each, N >= 2.
        """

    def align(self, parts: np.ndarray) -> None:
        """Sets what depends on how good pictures are scored that it was not fitted to.

        Args:
            parts: float [N, P], what :meth:`parts` gave for them.
        """

    def parts(self, features: Features, anomaly_map: paddle.Tensor | None) -> paddle.Tensor:
        """The P numbers that the score is made of, float32 [N, P].

        Args:
            features: those it needs.
            anomaly_map: float32 [N, H, W], not calibrated; None where there is no localizer.
        """
        raise NotImplementedError

    def combine(self, parts: paddle.Tensor) -> paddle.Tensor:
        """The score, float32 [N], of its parts [N, P]."""
        return parts[:, 0]

    def forward(self, features: Features, anomaly_map: paddle.Tensor | None) -> paddle.Tensor:
        """float32 [N]; see :meth:`parts` for what it takes."""
        return self.combine(self.parts(features, anomaly_map))
