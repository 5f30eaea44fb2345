"""The threshold of the greatest F1."""

from __future__ import annotations

import numpy as np

from ppcls_sspcab.detector.threshold.calibration import Calibration, checked_scores, spread
from ppcls_sspcab.registry import THRESHOLDS


@THRESHOLDS.register
class F1Threshold:
    """The threshold with the greatest F1 on a validation set which the user names.

    It lies in the middle between two neighbouring scores; of equally good gaps the widest counts.
    """

    needs_bad_scores = True

    def fit(self, good_scores: np.ndarray, bad_scores: np.ndarray) -> Calibration:
        """Calibrates on float [N] and [M] scores of the validation set, N, M >= 1.

        Raises:
            DataError: no scores of one kind.
            ModelError: scores that are not finite.
        """
        good, bad = checked_scores(good_scores, "good"), checked_scores(bad_scores, "bad")
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
        count = len(good) + len(bad)
        note = f"F1 {f1[chosen]:.3f} on the validation set of {len(good)} good, {len(bad)} bad"
        return Calibration(
            float(thresholds[chosen]), scale, "F1Threshold", count, None, False, note
        )
