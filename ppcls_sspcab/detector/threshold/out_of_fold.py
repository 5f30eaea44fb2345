"""Cross-validation over the good pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ppcls_sspcab.errors import DataError


def out_of_fold(
    judge: Callable[[np.ndarray, np.ndarray], np.ndarray], count: int, folds: int, seed: int
) -> np.ndarray:
    """Scores every good picture by what was fitted without it.

    The network has seen these pictures, and each fold's density is fitted on fewer of them than
    the final one, which raises their scores a little: a threshold found on them is usually
    cautious, but nothing is guaranteed (:meth:`Calibration.without_guarantee`).

    Args:
        judge: takes the numbers of the pictures to fit to and of those to score, int [M] and [K],
            and returns values of the latter, float [K, ...].
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
