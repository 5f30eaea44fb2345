"""The distance from the nearest patch of good pictures: PatchCore (Roth et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Sequence

from paddle import nn

from ppcls_sspcab.detector.localize.base import DEFAULT_SMOOTHING
from ppcls_sspcab.detector.localize.places import PlaceLocalizer
from ppcls_sspcab.detector.places.bank import MemoryBank
from ppcls_sspcab.detector.places.neighbourhood import Grid, Layers, NeighbourhoodFeatures
from ppcls_sspcab.detector.places.principal import Channels
from ppcls_sspcab.detector.places.surround import DEFAULT_SURROUND
from ppcls_sspcab.registry import LOCALIZERS


@LOCALIZERS.register
class PatchBank(PlaceLocalizer):
    """Distance of each place's features from the nearest in a memory bank of good pictures.

    Nothing is assumed about where a part lies; ``position`` makes it matter.

    Args:
        layers: paths of layers of the backbone, or ``auto``: the last ones of stride 8 and 16.
        channels: principal axes that features are projected to, at most the layers' channels;
            ``auto`` is 128, or all where they are fewer.
        size: patches that the bank keeps, of 40,000 candidates.
        position: weight of a place's row and column against its features.
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
        size: int = 2000,
        position: float = 0.0,
        grid: Grid = "auto",
        neighbourhood: int = 3,
        smoothing: float = DEFAULT_SMOOTHING,
        surround: float = DEFAULT_SURROUND,
    ) -> None:
        features = NeighbourhoodFeatures(network, image_size, layers, grid, neighbourhood)
        bank = MemoryBank(features.shape, channels, size, position)
        super().__init__(network, image_size, features, bank, smoothing, surround)
