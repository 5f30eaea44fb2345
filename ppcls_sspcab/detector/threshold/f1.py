"""The threshold of the greatest F1."""

from __future__ import annotations

import numpy as np

from ppcls_sspcab.detector.threshold.base import Threshold
from ppcls_sspcab.detector.threshold.calibration import Calibration, spread
from ppcls_sspcab.registry import THRESHOLDS


@THRESHOLDS.register
class F1Threshold(Threshold):
    """The threshold with the greatest F1 on a validation set which the user names.

    It lies in the middle between two neighbouring scores, of equally good ones the furthest apart.
    """

    def fit(self, good_scores: np.ndarray, bad_scores: np.ndarray) -> Calibration:
        """float64 [N] and [M], scores of the validation set, to the calibration."""
        good, bad = good_scores, bad_scores
        scale = spread(good)
        distinct = np.unique(np.concatenate([good, bad]))
        low = np.concatenate([[distinct[0] - 2 * scale], distinct])
        high = np.concatenate([distinct, [distinct[-1] + 2 * scale]])
        thresholds = (low + high) / 2
        hits = len(bad) - np.searchsorted(np.sort(bad), thresholds, side="right")
        alarms = len(good) - np.searchsorted(np.sort(good), thresholds, side="right")
        f1 = 2 * hits / (hits + alarms + len(bad))
        best = np.flatnonzero(f1 == f1.max())
        chosen = best[np.argmax((high - low)[best])]
        note = f"F1 {f1[chosen]:.3f} on the validation set of {len(good)} good, {len(bad)} bad"
        return Calibration(thresholds[chosen], scale, note=note)
