"""Several image scores, fused."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import paddle
from paddle import nn

from ppcls_sspcab.detector.scores.base import DensityFactory
from ppcls_sspcab.detector.scores.composite import CompositeScore
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
        sections = [{"name": part} if isinstance(part, str) else part for part in parts]
        if any(section.get("name") == "fused" for section in sections):
            raise ValueError("a part cannot be 'fused' itself")
        super().__init__(density, network, image_size, sections, "Score.parts")
        self.declare({"median": (len(parts),), "spread": (len(parts),)})
        self._by_mean = combine == "mean"

    def standardize(self, parts: np.ndarray) -> None:
        columns = np.asarray(parts, np.float64).T
        spreads = np.array([spread(column) for column in columns])
        self.load_arrays({"median": np.median(columns, axis=1), "spread": spreads})

    def combine(self, parts: paddle.Tensor) -> paddle.Tensor:
        deviations = (parts - self.median) / self.spread
        return deviations.mean(axis=-1) if self._by_mean else deviations.max(axis=-1)
