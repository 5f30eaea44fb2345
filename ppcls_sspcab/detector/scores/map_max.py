"""The largest values of the anomaly map."""

from __future__ import annotations

import paddle

from ppcls_sspcab.detector.scores.base import Features, ImageScore
from ppcls_sspcab.registry import IMAGE_SCORES


@IMAGE_SCORES.register_as("map_max")
class MapMaxScore(ImageScore):
    """The largest value of the anomaly map, or the mean of its ``top`` largest.

    Args:
        top: number of pixels, from 1 to those of the network's input.

    Raises:
        ValueError: a number below 1.
    """

    needs_map = True

    def __init__(self, top: int = 1) -> None:
        if top < 1:
            raise ValueError(f"top must be at least 1, not {top}")
        super().__init__()
        self.top = top

    def forward(self, features: Features, anomaly_map: paddle.Tensor | None) -> paddle.Tensor:
        assert anomaly_map is not None, "the Detector checks needs_map"
        values = anomaly_map.flatten(1)
        if self.top == 1:
            return values.max(axis=-1)
        return values.topk(self.top, axis=-1)[0].mean(axis=-1)
