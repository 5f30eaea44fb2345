"""The base of all threshold methods."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable

import numpy as np

from ppcls_sspcab.detector.threshold.calibration import Calibration
from ppcls_sspcab.errors import DataError, ModelError


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
            good_scores: float [N].
            bad_scores: float [M], where :attr:`needs_bad_scores`.

        Raises:
            DataError: no scores of one kind.
            ModelError: scores that are not finite, or a threshold or scale that is of no use.
        """
        scores = [_checked(good_scores, "good")]
        if bad_scores is not None:
            scores.append(_checked(bad_scores, "bad"))
        found, method = self.fit(*scores), type(self).__name__
        if not isinstance(found, Calibration):
            raise ModelError(f"{method}.fit must return a Calibration, not {found!r}")
        if not (math.isfinite(found.threshold) and 0 < found.scale < math.inf):
            raise ModelError(
                f"{method} gives the threshold {found.threshold} and the scale {found.scale}: both "
                "must be finite, and the scale above 0"
            )
        return dataclasses.replace(
            found,
            threshold=float(found.threshold),
            scale=float(found.scale),
            method=method,
            pictures=sum(map(len, scores)),
        )


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
