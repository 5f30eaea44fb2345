"""The largest distance from a memory bank: PatchCore (Roth et al., CVPR 2022, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

from paddle import nn

from ppcls_sspcab.detector.places.bank import MemoryBank
from ppcls_sspcab.detector.places.neighbourhood import Grid, Layers, NeighbourhoodFeatures
from ppcls_sspcab.detector.places.principal import Channels
from ppcls_sspcab.detector.places.surround import DEFAULT_SURROUND
from ppcls_sspcab.detector.scores.places import PlaceScore
from ppcls_sspcab.registry import IMAGE_SCORES


@IMAGE_SCORES.register_as("patch_bank")
class PatchBankScore(PlaceScore):
    """The largest distance of a place's features from the nearest in a memory bank.

    It needs no localizer; :class:`ppcls_sspcab.detector.localize.patch_bank.PatchBank` makes a map
    of the same distances.

    Args:
        layers, channels, size, position, grid, neighbourhood, surround: as of ``PatchBank``.
        top: the score is the mean of so many of the largest distances.

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
        surround: float = DEFAULT_SURROUND,
        top: int = 1,
    ) -> None:
        features = NeighbourhoodFeatures(network, image_size, layers, grid, neighbourhood, "Score")
        places = MemoryBank(features.shape, channels, size, position)
        super().__init__(features, places, surround, top)
