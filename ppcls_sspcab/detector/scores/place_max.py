"""The largest distance in a feature map, by one Gaussian for all places."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import paddle
from paddle import nn

from ppcls_sspcab.arch.features import BACKBONE, FeatureReader, last_layers
from ppcls_sspcab.arch.paths import find_layer
from ppcls_sspcab.detector.batches import Mapped
from ppcls_sspcab.detector.density.gaussian import GaussianDensity
from ppcls_sspcab.detector.scores.base import Features, ImageScore
from ppcls_sspcab.registry import IMAGE_SCORES

# The middle of a ResNet, or the nearest that the backbone has.
AUTO_STRIDES = (16, 8, 32, 4)


@IMAGE_SCORES.register_as("place_max")
class PlaceMaxScore(ImageScore):
    """The largest Mahalanobis distance of a place's features, wherever in the picture it lies.

    Features are L2-normalised, and one Gaussian is fitted to all places of all good pictures, so
    it does not matter where a part lies or how it is turned. A trained layer of the middle keeps
    defects that pooling over the whole picture loses.

    Args:
        layer: path of a layer of the backbone, or ``auto``: the last one of stride 16, or of 8,
            32 or 4, where none is.

    Raises:
        ConfigError: a path that names no layer.
        ValueError: ``auto`` where no layer has one of these strides.
    """

    def __init__(self, network: nn.Layer, image_size: Sequence[int], layer: str = "auto") -> None:
        super().__init__()
        if layer == "auto":
            found = last_layers(network, image_size, AUTO_STRIDES)
            if not found:
                raise ValueError(f"no layer has a stride of {AUTO_STRIDES}: name one as 'layer'")
            layer = found[0]
        find_layer(network.backbone, layer, "Score.layer")
        self.needs = (BACKBONE + layer,)
        shapes = FeatureReader(network, self.needs).shapes(image_size)
        self.channels = shapes[self.needs[0]][1]
        self.density = GaussianDensity(self.channels)

    def fit_batches(self, batches: Iterable[Mapping[str, np.ndarray]]) -> None:
        self.density.fit_batches(Mapped(self._points, batches))

    def _points(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        return features[self.needs[0]].transpose(0, 2, 3, 1).reshape(-1, self.channels)

    def forward(self, features: Features, anomaly_map: paddle.Tensor | None) -> paddle.Tensor:
        maps = features[self.needs[0]].flatten(2)
        places = maps.shape[2]
        points = maps.transpose([0, 2, 1]).reshape([-1, self.channels])
        return self.density(points).reshape([-1, places]).max(axis=-1)
