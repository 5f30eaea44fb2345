"""The base of the image scores that know the distance of single places."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import paddle

from ppcls_sspcab.detector.batches import Mapped
from ppcls_sspcab.detector.places.bank import MemoryBank
from ppcls_sspcab.detector.places.gaussian import PlaceGaussians
from ppcls_sspcab.detector.places.neighbourhood import NeighbourhoodFeatures
from ppcls_sspcab.detector.places.surround import Surround
from ppcls_sspcab.detector.scores.base import Features, ImageScore
from ppcls_sspcab.detector.scores.map_max import mean_of_largest


class PlaceScore(ImageScore):
    """The mean of the largest distances of a picture's places.

    Args:
        features: of the places. places: gives their distances.
        surround: share of :class:`ppcls_sspcab.detector.places.surround.Surround`.
        top: number of distances, from 1; all places where there are fewer.

    Raises:
        ValueError: a number below 1.
    """

    def __init__(
        self,
        features: NeighbourhoodFeatures,
        places: PlaceGaussians | MemoryBank,
        surround: float,
        top: int,
    ) -> None:
        if top < 1:
            raise ValueError(f"top must be at least 1, not {top}")
        super().__init__()
        self.top = min(top, features.shape[1] * features.shape[2])
        self.neighbourhood = features
        self.needs = features.needs
        self.places = places
        self.surround = Surround(features.shape[1:], surround)

    def fit_batches(self, batches: Iterable[Mapping[str, np.ndarray]]) -> None:
        self.places.fit_batches(Mapped(self._cells, batches))

    def _cells(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        with paddle.no_grad():
            found = {name: paddle.to_tensor(features[name]) for name in self.needs}
            return self.neighbourhood(found).numpy()

    def forward(self, features: Features, anomaly_map: paddle.Tensor | None) -> paddle.Tensor:
        distances = self.places(self.neighbourhood(features))
        return mean_of_largest(self.surround(distances), self.top)
