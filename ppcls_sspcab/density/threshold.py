"""From scores of good pictures to a threshold that keeps a promise."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from ppcls_sspcab.errors import DataError, ModelError
from ppcls_sspcab.registry import THRESHOLDS

# A half-normal's median lies here: makes the median absolute deviation a standard deviation.
MAD_TO_DEVIATION = 1.4826


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A threshold and how it was found. A picture is an anomaly if ``score > threshold``.

    Attributes:
        threshold: in the unit of the scores.
        scale: spread of the good scores, > 0, of
            ``normalized_score = 0.5 + 0.5 * softsign((score - threshold) / scale)``.
        method: name of the registered class that found it.
        pictures: number of pictures it was found on.
        target_fpr: the share of good pictures that may be called anomalies, where one was asked.
        guaranteed: whether ``target_fpr`` holds for new good pictures, whatever the
            distribution of their scores, on the average over calibration sets.
        note: one sentence for people.
    """

    threshold: float
    scale: float
    method: str
    pictures: int
    target_fpr: float | None
    guaranteed: bool
    note: str

    def without_guarantee(self, reason: str) -> Calibration:
        """The same threshold where the scores only nearly are those of new pictures."""
        if not self.guaranteed:
            return self
        return dataclasses.replace(self, guaranteed=False, note=reason)


@THRESHOLDS.register
class TargetFPR:
    """The smallest threshold that new good pictures exceed with probability ``target_fpr``.

    Split conformal prediction (Vovk et al. 2005; Lei et al., JASA 2018, section 2.2): of n good
    scores it takes the k-th smallest, ``k = ceil((n + 1) * (1 - target_fpr))``. The guarantee
    holds if the calibration pictures and the new ones are exchangeable, so the former may neither
    have trained the network nor fitted the density.

    With ``k > n`` no finite threshold keeps the promise. The largest score, which a new good
    picture exceeds with probability ``1 / (n + 1)``, is then raised by ``scale * log(1 /
    (target_fpr * (n + 1)))``: what takes an exponential tail of that scale down to
    ``target_fpr``. From 8 pictures on that is near the target for Gaussian scores and at most
    half as much again for exponential ones; it is always nearer than the largest score alone.

    Args:
        target_fpr: in (0, 1).

    Raises:
        ValueError: ``target_fpr`` outside (0, 1).
    """

    needs_bad_scores = False

    def __init__(self, target_fpr: float = 0.05) -> None:
        if not 0 < target_fpr < 1:
            raise ValueError(f"target_fpr must lie between 0 and 1, not {target_fpr}")
        self.target_fpr = target_fpr

    @property
    def pictures_needed(self) -> int:
        """The fewest good pictures with which the promise can be kept."""
        rate = Fraction(str(self.target_fpr))
        return math.ceil((1 - rate) / rate)

    def fit(self, good_scores: np.ndarray) -> Calibration:
        """Calibrates on float [N], N >= 1, scores of good pictures.

        Raises:
            DataError: no scores.
            ModelError: scores that are not finite.
        """
        scores = np.sort(_checked(good_scores, "good"))
        count, scale = len(scores), spread(scores)
        # As written in the YAML, 0.05 is 1/20: floats would make 20 * (1 - 0.05) exceed 19.
        rank = math.ceil((count + 1) * (1 - Fraction(str(self.target_fpr))))
        guaranteed = rank <= count
        if guaranteed:
            threshold = scores[rank - 1]
            note = f"the {_ordinal(rank)} smallest of {count} good scores (split conformal)"
        else:
            threshold = scores[-1] + scale * math.log(1 / (self.target_fpr * (count + 1)))
            note = (
                f"{count} good pictures cannot guarantee a false-alarm rate of "
                f"{self.target_fpr:g}, that takes {self.pictures_needed}: the threshold is the "
                "largest score plus a margin"
            )
        return Calibration(
            float(threshold), scale, "TargetFPR", count, self.target_fpr, guaranteed, note
        )


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
        good, bad = _checked(good_scores, "good"), _checked(bad_scores, "bad")
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
        scores = _checked(good_scores, "good")
        note = "set by hand"
        return Calibration(
            self.value, spread(scores), "ManualThreshold", len(scores), None, False, note
        )


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


def out_of_fold(
    judge: Callable[[np.ndarray, np.ndarray], np.ndarray], count: int, folds: int, seed: int
) -> np.ndarray:
    """Judges every good picture by what was fitted without it.

    The network has seen these pictures, and each fold's density is fitted on fewer of them than
    the final one, which raises their scores a little: a threshold found on them is usually
    cautious, but nothing is guaranteed (:meth:`Calibration.without_guarantee`).

    Args:
        judge: takes the numbers of the pictures to fit to and of those to judge, int [M] and [K],
            and returns what it says of the latter, float [K, ...].
        count: number of pictures, >= 3.
        folds: number of folds, >= 2; at most ``count`` are used.
        seed: of the shuffling.

    Returns:
        float64 [count, ...], in the order of the pictures.

    Raises:
        DataError: fewer than 3 pictures.
    """
    from sklearn.model_selection import KFold

    if count < 3:
        raise DataError(f"k-fold calibration needs at least 3 good pictures, got {count}")
    # Of 3 pictures in 2 folds, one density would be left with a single picture.
    parts = max(min(folds, count), 2 if count > 3 else 3)
    order, found = [], []
    for fitted, judged in KFold(parts, shuffle=True, random_state=seed).split(np.arange(count)):
        order.append(judged)
        found.append(np.asarray(judge(fitted, judged), np.float64))
    return np.concatenate(found)[np.argsort(np.concatenate(order))]


def _checked(values: np.ndarray, kind: str) -> np.ndarray:
    scores = np.asarray(values, np.float64).reshape(-1)
    if not len(scores):
        raise DataError(f"the threshold needs scores of {kind} pictures, and there are none")
    if not np.isfinite(scores).all():
        raise ModelError(
            f"{np.sum(~np.isfinite(scores))} of {len(scores)} scores of {kind} pictures are not "
            "finite: fit the density first, or look at the training's losses"
        )
    return scores


def _ordinal(number: int) -> str:
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if 10 <= number % 100 <= 20 else suffix}"
