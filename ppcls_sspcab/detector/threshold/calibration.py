"""Thresholds as values, and the scale of scores."""

from __future__ import annotations

import dataclasses

import numpy as np

# A half-normal's median lies here: makes the median absolute deviation a standard deviation.
MAD_TO_DEVIATION = 1.4826


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A threshold and how it was found. A picture is an anomaly if ``score > threshold``.

    Attributes:
        threshold: in the unit of the scores.
        scale: spread of the good scores (:func:`spread`), > 0, of
            ``normalized_score = 0.5 + 0.5 * softsign((score - threshold) / scale)``.
        method: name of the registered class that found it; :meth:`Threshold.calibrate` sets it.
        pictures: number of pictures it was found on; set there, too.
        good_pictures: how many of them are good.
        false_alarms: how many of these lie above the threshold.
        target_fpr: the share of good pictures that may be called anomalies, where one was set.
        guaranteed: whether ``target_fpr`` holds for new good pictures, whatever the
            distribution of their scores, on the average over calibration sets. A single one may
            do worse: see ``plausible_fpr``.
        plausible_fpr: the share of new good pictures above the threshold is larger only once in
            ten calibration sets; of pictures that nothing was fitted to.
        note: how it was found, in a sentence.
    """

    threshold: float
    scale: float
    method: str = ""
    pictures: int = 0
    good_pictures: int = 0
    false_alarms: int = 0
    target_fpr: float | None = None
    guaranteed: bool = False
    plausible_fpr: float | None = None
    note: str = ""

    def without_guarantee(self, reason: str) -> Calibration:
        """The same threshold, not guaranteed: its scores are not those of new pictures."""
        if not self.guaranteed:
            return self
        return dataclasses.replace(self, guaranteed=False, note=reason)

    def keeps(self, rate: float) -> bool:
        """Whether so many good pictures, so many of them above, keep ``rate`` on the average."""
        return self.false_alarms + 1 <= (self.good_pictures + 1) * rate * (1 + 1e-9)


def spread(scores: np.ndarray) -> float:
    """A robust standard deviation of scores float [N], N >= 1; always > 0.

    The median absolute deviation times 1.4826; where over half the scores are equal, the
    standard deviation; where all are (or there is one), a tenth of their magnitude, or 1.
    """
    scores = np.asarray(scores, np.float64)
    median = float(np.median(scores))
    smallest = 1e-6 * abs(median)
    deviations = MAD_TO_DEVIATION * np.median(np.abs(scores - median)), np.std(scores)
    for deviation in deviations:
        if deviation > smallest:
            return float(deviation)
    return 0.1 * abs(median) or 1.0
