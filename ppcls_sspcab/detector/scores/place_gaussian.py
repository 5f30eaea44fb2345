"""The largest distances by a Gaussian for every place, after PaDiM (Defard et al., ICPR 2020)."""

from __future__ import annotations

from collections.abc import Sequence

from paddle import nn

from ppcls_sspcab.detector.places.gaussian import DEFAULT_RANK, PlaceGaussians
from ppcls_sspcab.detector.places.neighbourhood import Grid, Layers, NeighbourhoodFeatures
from ppcls_sspcab.detector.places.principal import Channels
from ppcls_sspcab.detector.places.surround import DEFAULT_SURROUND
from ppcls_sspcab.detector.scores.places import PlaceScore
from ppcls_sspcab.registry import IMAGE_SCORES


@IMAGE_SCORES.register_as("place_gaussian")
class PlaceGaussianScore(PlaceScore):
    """The largest Mahalanobis distances of places' features from those of good pictures there.

    Its layers lie deeper than those of the map
    (:class:`ppcls_sspcab.detector.localize.feature_gaussian.FeatureGaussian`): they tell more
    about whether something is wrong, and less about where.

    Args:
        layers: paths of layers of the backbone, or ``auto``: the last ones of stride 8 and 16.
        channels, rank, shrinkage, grid, neighbourhood, surround: as of ``FeatureGaussian``.
        top: the score is the mean of so many of the largest distances: a defect that is seen hardly
            at all is seen at several places.

    Raises:
        ValueError: a value out of range.
        ConfigError: a path that names no layer.
    """

    def __init__(
        self,
        network: nn.Layer,
        image_size: Sequence[int],
        layers: Layers = "auto",
        channels: Channels = "auto",
        rank: int = DEFAULT_RANK,
        shrinkage: float = 0.25,
        grid: Grid = "auto",
        neighbourhood: int = 3,
        surround: float = DEFAULT_SURROUND,
        top: int = 3,
    ) -> None:
        features = NeighbourhoodFeatures(network, image_size, layers, grid, neighbourhood, "Score")
        places = PlaceGaussians(features.shape, channels, rank, shrinkage)
        super().__init__(features, places, surround, top)
