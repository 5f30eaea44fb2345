"""Several image scores, fused."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import paddle
from paddle import nn

from ppcls_sspcab.detector.scores.base import DensityFactory
from ppcls_sspcab.detector.scores.composite import CompositeScore, named_section
from ppcls_sspcab.detector.threshold.calibration import spread
from ppcls_sspcab.registry import IMAGE_SCORES


@IMAGE_SCORES.register_as("fused")
class FusedScore(CompositeScore):
    """The mean, or the maximum, of scores brought to one scale by good pictures.

    Each part becomes ``(part - median) / spread``, with the median and the robust spread of its
    values on good pictures that were not fitted to; bad pictures are never looked at.

    Args:
        parts: names of scores, or sections with a ``name``.
        combine: ``mean``, or ``max``: the largest part decides alone.

    Buffers: ``median`` and ``spread``, float32 [P].

    Raises:
        ValueError: fewer than two parts, or one that is ``fused`` itself.
    """

    median: paddle.Tensor
    spread: paddle.Tensor

    def __init__(
        self,
        density: DensityFactory,
        network: nn.Layer,
        image_size: list[int],
        parts: list[str | dict[str, Any]],
        combine: Literal["mean", "max"] = "mean",
    ) -> None:
        if len(parts) < 2:
            raise ValueError(f"parts must name at least two scores, not {parts}")
        for index, part in enumerate(parts):
            key = f"Score.parts.{index}"
            kind = IMAGE_SCORES.get(named_section(part, key)["name"], f"{key}.name")
            if issubclass(kind, CompositeScore):
                raise ValueError("a part cannot be made of several scores, as 'fused' is")
        super().__init__(density, network, image_size, parts, "Score.parts")
        self.declare({"median": (len(parts),), "spread": (len(parts),)})
        self._by_mean = combine == "mean"

    def standardize(self, parts: np.ndarray) -> None:
        columns = np.asarray(parts, np.float64).T
        spreads = np.array([spread(column) for column in columns])
        self.load_arrays({"median": np.median(columns, axis=1), "spread": spreads})

    def combine(self, parts: paddle.Tensor) -> paddle.Tensor:
        deviations = (parts - self.median) / self.spread
        return deviations.mean(axis=-1) if self._by_mean else deviations.max(axis=-1)
