"""A threshold set by hand."""

from __future__ import annotations

import math

import numpy as np

from ppcls_sspcab.detector.threshold.calibration import Calibration, checked_scores, spread
from ppcls_sspcab.registry import THRESHOLDS


@THRESHOLDS.register
class ManualThreshold:
    """A threshold set by hand; the good scores only give the scale.

    Args:
        value: the threshold, in the unit of the scores.

    Raises:
        ValueError: a value that is not finite.
    """

    needs_bad_scores = False

    def __init__(self, value: float) -> None:
        if not math.isfinite(value):
            raise ValueError(f"value must be finite, not {value}")
        self.value = float(value)

    def fit(self, good_scores: np.ndarray) -> Calibration:
        """As :meth:`TargetFPR.fit`."""
        scores = checked_scores(good_scores, "good")
        note = "set by hand"
        return Calibration(
            self.value, spread(scores), "ManualThreshold", len(scores), None, False, note
        )
