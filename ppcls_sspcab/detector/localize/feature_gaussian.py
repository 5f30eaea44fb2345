"""A map of the distances by a Gaussian for every place, after PaDiM (Defard et al., ICPR 2020)."""

from __future__ import annotations

from collections.abc import Sequence

from paddle import nn

from ppcls_sspcab.detector.localize.base import DEFAULT_SMOOTHING
from ppcls_sspcab.detector.localize.places import PlaceLocalizer
from ppcls_sspcab.detector.places.gaussian import (
    DEFAULT_RANK,
    DEFAULT_SHRINKAGE,
    PlaceGaussians,
)
from ppcls_sspcab.detector.places.neighbourhood import Grid, Layers, NeighbourhoodFeatures
from ppcls_sspcab.detector.places.principal import Channels
from ppcls_sspcab.detector.places.surround import DEFAULT_SURROUND
from ppcls_sspcab.registry import LOCALIZERS


@LOCALIZERS.register
class FeatureGaussian(PlaceLocalizer):
    """Mahalanobis distance of each place's features from those of good pictures there.

    See :class:`ppcls_sspcab.detector.places.gaussian.PlaceGaussians`.

    Args:
        layers: paths of layers of the backbone, or ``auto``: the last ones of stride 4 and 8.
            Deeper ones see further than the defect and smear it.
        channels: principal axes that features are projected to, at most the layers' channels;
            ``auto`` is 256, or all where they are fewer.
        rank: directions in which a place has a variance of its own.
        shrinkage: share of the covariance of all places in that of each, in (0, 1].
        grid: (h, w) of the places, or ``auto``: one for 16 x 16 pixels or so, at most 1024.
        neighbourhood: side of the square of places whose mean is taken first, odd.
        smoothing: standard deviation of the upsampling's Gaussian, as a share of the shorter side.
        surround: share of the mean distance around a place, over half the picture's side, that is
            taken off the place's own, from 0 to 1.

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
        shrinkage: float = DEFAULT_SHRINKAGE,
        grid: Grid = "auto",
        neighbourhood: int = 3,
        smoothing: float = DEFAULT_SMOOTHING,
        surround: float = DEFAULT_SURROUND,
    ) -> None:
        features = NeighbourhoodFeatures(
            network, image_size, layers, grid, neighbourhood, strides=(4, 8)
        )
        gaussians = PlaceGaussians(features.shape, channels, rank, shrinkage)
        super().__init__(network, image_size, features, gaussians, smoothing, surround)
