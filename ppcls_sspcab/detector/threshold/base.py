"""The base of all threshold methods."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable

import numpy as np

from ppcls_sspcab.detector.threshold.calibration import Calibration
from ppcls_sspcab.detector.threshold.doubts import plausible_rate
from ppcls_sspcab.errors import DataError, ModelError

LEAST_GOOD = 2  # one score has no spread


class Threshold:
    """Finds a threshold by the image scores of pictures that were not fitted to.

    A subclass defines ``fit(good_scores)``, or ``fit(good_scores, bad_scores)`` if it needs scores
    of bad pictures too: float64 [N] and [M], finite, N and M >= 1. It returns a
    :class:`Calibration`, of which it need only set ``threshold`` and ``scale``.
    """

    fit: Callable[..., Calibration]

    @property
    def needs_bad_scores(self) -> bool:
        """Whether it takes the scores of bad pictures, too."""
        return "bad_scores" in inspect.signature(self.fit).parameters

    def calibrate(
        self, good_scores: np.ndarray, bad_scores: np.ndarray | None = None
    ) -> Calibration:
        """:meth:`fit` of checked scores, with its name and the number of pictures noted.

        Args:
            good_scores: float [N], N >= 2, of different pictures.
            bad_scores: float [M], where :attr:`needs_bad_scores`.

        Raises:
            DataError: fewer than two good scores, or no bad ones.
            ModelError: scores that are not finite, or a threshold or scale that is of no use.
        """
        good = _checked(good_scores, "good", LEAST_GOOD)
        scores = [good] if bad_scores is None else [good, _checked(bad_scores, "bad", 1)]
        found, method = self.fit(*scores), type(self).__name__
        if not isinstance(found, Calibration):
            raise ModelError(f"{method}.fit must return a Calibration, not {found!r}")
        if not (math.isfinite(found.threshold) and 0 < found.scale < math.inf):
            raise ModelError(
                f"{method} gives the threshold {found.threshold} and the scale {found.scale}: both "
                "must be finite, and the scale above 0"
            )
        threshold = float(found.threshold)
        above = int(np.sum(good > threshold))
        return dataclasses.replace(
            found,
            threshold=threshold,
            scale=float(found.scale),
            method=method,
            pictures=sum(map(len, scores)),
            good_pictures=len(good),
            false_alarms=above,
            plausible_fpr=plausible_rate(len(good), above),
        )


def _checked(values: np.ndarray, kind: str, least: int) -> np.ndarray:
    scores = np.asarray(values, np.float64).reshape(-1)
    if len(scores) < least:
        raise DataError(
            f"the threshold needs scores of at least {least} {kind} pictures, and there are "
            f"{len(scores) or 'none'}"
        )
    if not np.isfinite(scores).all():
        raise ModelError(
            f"{np.sum(~np.isfinite(scores))} of {len(scores)} scores of {kind} pictures are not "
            "finite: fit the density first, or look at the training's losses"
        )
    return scores
