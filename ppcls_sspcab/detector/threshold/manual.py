"""A threshold set by hand."""

from __future__ import annotations

import math

import numpy as np

from ppcls_sspcab.detector.threshold.base import Threshold
from ppcls_sspcab.detector.threshold.calibration import Calibration, spread
from ppcls_sspcab.registry import THRESHOLDS


@THRESHOLDS.register
class ManualThreshold(Threshold):
    """A threshold set by hand; the good scores only give the scale.

    Args:
        value: the threshold, in the unit of the scores.

    Raises:
        ValueError: a value that is not finite.
    """

    def __init__(self, value: float) -> None:
        if not math.isfinite(value):
            raise ValueError(f"value must be finite, not {value}")
        self.value = float(value)

    def fit(self, good_scores: np.ndarray) -> Calibration:
        """float64 [N], scores of good pictures, to the calibration."""
        return Calibration(self.value, spread(good_scores), note="set by hand")
