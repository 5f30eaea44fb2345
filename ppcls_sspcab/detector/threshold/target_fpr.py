"""The threshold that keeps a false-alarm rate: split conformal prediction."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from ppcls_sspcab.detector.threshold.base import Threshold
from ppcls_sspcab.detector.threshold.calibration import Calibration, spread
from ppcls_sspcab.registry import THRESHOLDS

_LOWEST = 1e-9  # of a rate that pictures could ever show


@THRESHOLDS.register
class TargetFPR(Threshold):
    """The smallest threshold that new good pictures exceed with probability ``target_fpr``.

    Split conformal prediction (Vovk et al. 2005; Lei et al., JASA 2018, section 2.2): of n good
    scores it takes the k-th smallest, ``k = ceil((n + 1) * (1 - target_fpr))``. The guarantee
    holds if the calibration pictures and the new ones are exchangeable, so the former may neither
    have trained the network nor fitted the density. It is one of the average over calibration
    sets: with a given one the rate is distributed as Beta(n + 1 - k, k), so that of 20 pictures at
    0.05 one set in eight gives more than twice the rate. ``Calibration.plausible_fpr`` is the
    bound that nine sets in ten keep.

    With ``k > n`` no finite threshold keeps the rate. The largest score, which a new good
    picture exceeds with probability ``1 / (n + 1)``, is then raised by ``scale * log(1 /
    (target_fpr * (n + 1)))``, which would take an exponential tail of that scale down to
    ``target_fpr``. For Gaussian scores and 8 pictures or more the rate is near the target or below
    it. For exponential ones it is 1.5 times 0.05 with 8 pictures; at 0.01 it is 3.8 times as much
    with 8, and 1.5 times with 30. It is always nearer than the largest score alone.

    Args:
        target_fpr: at least 1e-9, below 1.

    Raises:
        ValueError: ``target_fpr`` outside that range.
    """

    def __init__(self, target_fpr: float = 0.05) -> None:
        if not _LOWEST <= target_fpr < 1:
            raise ValueError(
                f"target_fpr must lie between 0 and 1, at least {_LOWEST:g}, not {target_fpr}"
            )
        self.target_fpr = target_fpr

    @property
    def pictures_needed(self) -> int:
        """The fewest good pictures with which the rate can be guaranteed."""
        rate = Fraction(str(self.target_fpr))
        return math.ceil((1 - rate) / rate)

    def fit(self, good_scores: np.ndarray) -> Calibration:
        """float64 [N], scores of good pictures, to the calibration."""
        scores = np.sort(good_scores)
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
            threshold, scale, target_fpr=self.target_fpr, guaranteed=guaranteed, note=note
        )


def _ordinal(number: int) -> str:
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if 10 <= number % 100 <= 20 else suffix}"
