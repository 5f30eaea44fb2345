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
        return mean_of_largest(anomaly_map, self.top)


def mean_of_largest(values: paddle.Tensor, top: int) -> paddle.Tensor:
    """The mean of the ``top`` largest of each picture's values, float32 [N, ...]: [N]."""
    values = values.flatten(1)
    if top == 1:
        return values.max(axis=-1)
    return values.topk(top, axis=-1)[0].mean(axis=-1)
