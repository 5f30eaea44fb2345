"""The base of the localizers that know the distance of single places."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import paddle
from paddle import nn

from ppcls_sspcab.detector.localize.base import Features, Localizer
from ppcls_sspcab.detector.places.bank import MemoryBank
from ppcls_sspcab.detector.places.gaussian import PlaceGaussians
from ppcls_sspcab.detector.places.neighbourhood import NeighbourhoodFeatures


class PlaceLocalizer(Localizer):
    """A map of how far the features of each place are from those of good pictures.

    Args:
        features: of the places. places: gives their distances.
        smoothing, surround: as of :class:`Localizer`.
    """

    def __init__(
        self,
        network: nn.Layer,
        image_size: Sequence[int],
        features: NeighbourhoodFeatures,
        places: PlaceGaussians | MemoryBank,
        smoothing: float,
        surround: float,
    ) -> None:
        super().__init__(network, image_size, smoothing, surround, cell_shape=features.shape)
        self.neighbourhood = features
        self.needs = features.needs
        self.places = places

    def cells(self, features: Features) -> paddle.Tensor:
        return self.neighbourhood(features)

    def fit_batches(self, cells: Iterable[np.ndarray]) -> None:
        self.places.fit_batches(cells)

    def distances(self, cells: paddle.Tensor) -> paddle.Tensor:
        return self.places(cells)
