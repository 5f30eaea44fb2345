"""What a threshold's own pictures say against it: too few of them, and some that stand apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ppcls_sspcab.detector.threshold.calibration import Calibration, spread
from ppcls_sspcab.utils.logger import get_logger

CONFIDENCE = 0.9
USUAL_RATE = 0.05  # of false alarms, where a method asks for none
# A gap of so many deviations between neighbouring good scores, of their upper quarter, is seen once
# in 200 sets of normal scores and once in 15 of exponential ones; fewer scores tell nothing.
GAP = 5.0
LEAST_SCORES = 8
NAMED = 3


def plausible_rate(pictures: int, above: int) -> float:
    """The share of new good pictures above a threshold that ``above`` of ``pictures`` exceed.

    It is larger once in ten times only: the bound of Clopper and Pearson. For the k-th smallest of
    n scores that is the 90 % quantile of Beta(n + 1 - k, k), which the share is distributed by.

    Args:
        pictures: good ones that nothing was fitted to, >= 1.
        above: how many of them exceed the threshold.

    Returns:
        a rate in (0, 1].
    """
    if above >= pictures:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(50):
        rate = (low + high) / 2
        if _at_most(above, pictures, rate) > 1 - CONFIDENCE:
            low = rate
        else:
            high = rate
    return high


def _at_most(most: int, count: int, rate: float) -> float:
    """The chance of no more than ``most`` of ``count`` independent events of that rate."""
    return math.fsum(
        math.exp(
            math.lgamma(count + 1)
            - math.lgamma(found + 1)
            - math.lgamma(count - found + 1)
            + found * math.log(rate)
            + (count - found) * math.log1p(-rate)
        )
        for found in range(most + 1)
    )


def standing_apart(good_scores: np.ndarray) -> list[int]:
    """Numbers of the good scores, float [N], above a gap as only another kind of picture leaves."""
    scores = np.asarray(good_scores, np.float64).reshape(-1)
    if len(scores) < LEAST_SCORES:
        return []
    order = np.argsort(scores, kind="stable")
    gaps = np.diff(scores[order])
    first = len(gaps) - len(scores) // 4
    wide = np.flatnonzero(gaps[first:] > GAP * spread(scores))
    return order[first + wide[0] + 1 :].tolist() if len(wide) else []


def warn_of_doubts(where: str, calibration: Calibration, apart: Sequence[str]) -> None:
    """Says in the log how many false alarms are plausible, and which pictures stand apart.

    Args:
        where: the category or model, for the log.
        apart: paths of the good pictures that :func:`standing_apart` found.
    """
    asked = USUAL_RATE if calibration.target_fpr is None else calibration.target_fpr
    if not calibration.keeps(asked):
        get_logger().warning(
            f"{where}: up to {calibration.plausible_fpr:.2f} of new good pictures may be called "
            f"anomalies ({CONFIDENCE:.0%} bound), where {asked:g} is wanted: "
            f"{calibration.good_pictures} good pictures set the threshold, too few or too many of "
            "them above it; give more"
        )
    if apart:
        more = f" and {len(apart) - NAMED} more" if len(apart) > NAMED else ""
        get_logger().warning(
            f"{where}: {len(apart)} of {calibration.good_pictures} good pictures score far above "
            f"the others, which raises the threshold: {', '.join(apart[:NAMED])}{more}; look at "
            "them, and take out what is not good"
        )
