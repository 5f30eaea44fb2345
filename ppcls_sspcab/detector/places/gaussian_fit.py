"""Gaussians of many places from their moments: what they share, and what few directions keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ppcls_sspcab.detector.density.base import RELATIVE_FLOOR
from ppcls_sspcab.detector.moments import Moments


class Estimate(NamedTuple):
    """The squared distance of x at place l is ``|y|^2 - |directions[l]^T y|^2``, with
    ``y = (projection^T x - mean[l]) * scale[l]``.

    Attributes:
        projection: float64 [d, d], the whitening of the covariance of all places.
        mean: float64 [L or 1, d]. scale: float64 [L, 1]. directions: float64 [L, d, r].
    """

    projection: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    directions: np.ndarray


def shares_mean(folds: Sequence[Moments], shrinkage: float) -> bool:
    """Whether left-out pictures are likelier under one mean for all places, as of a texture.

    Args:
        folds: moments of each fold's points, of the same places about the same origin; two or
            more, none without a picture.
        shrinkage: as of :func:`estimate`.
    """
    whole = folds[0]
    for fold in folds[1:]:
        whole = whole.merge(fold)
    apart, shared = 0.0, 0.0
    for left_out in folds:
        fitted = whole.merge(left_out, sign=-1)
        apart += cost(fitted, left_out, shrinkage, shared_mean=False)
        shared += cost(fitted, left_out, shrinkage, shared_mean=True)
    return shared < apart


def estimate(moments: Moments, shared_mean: bool, shrinkage: float, rank: int) -> Estimate:
    """The Gaussians of all places, each with a mean of its own or all with one.

    Each covariance is ``(1 - shrinkage) * own + shrinkage * shared``. In the axes in which the
    shared one is the identity, own is kept along its ``rank`` directions of most variance and is
    alike in all others, with the mean of their variances (Tipping and Bishop, "Probabilistic
    Principal Component Analysis", 1999, section 3.2).
    """
    mean, whitening, own = _whitened(moments, shared_mean)
    size = own.shape[1]
    rank = min(rank, size) if shrinkage < 1 else 1  # none has one of its own then
    values, vectors = np.linalg.eigh(own)
    values, vectors = values[:, ::-1].clip(0), vectors[:, :, ::-1]
    variances = (1 - shrinkage) * values + shrinkage
    rest = variances[:, rank:].mean(axis=1) if rank < size else variances[:, -1]
    scale = 1 / np.sqrt(rest)[:, None]
    kept = np.sqrt((1 - rest[:, None] / variances[:, :rank]).clip(0))
    return Estimate(whitening, mean @ whitening, scale, vectors[:, :, :rank] * kept[:, None])


def _whitened(moments: Moments, shared_mean: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means [L or 1, d], whitening of all places together [d, d], own covariances so whitened."""
    mean = moments.mean
    if shared_mean:
        mean = mean.mean(axis=0, keepdims=True)
    # A mean that was fitted to the same pictures takes away one of them.
    freedom = moments.count if shared_mean else max(moments.count - 1, 1)
    own = moments.scatter(mean) / freedom
    shared = own.mean(axis=0)
    power = np.trace(shared) + np.mean(np.sum(moments.mean**2, axis=1))
    ridge = max(RELATIVE_FLOOR**2 * power / len(shared), 1e-18)
    factor = np.linalg.cholesky(shared + ridge * np.eye(len(shared)))
    whitening = np.linalg.inv(factor).T
    return mean, whitening, np.matmul(np.matmul(whitening.T, own), whitening)


def cost(fitted: Moments, left_out: Moments, shrinkage: float, shared_mean: bool) -> float:
    """Minus the log likelihood of left-out points, but for a constant."""
    mean, whitening, own = _whitened(fitted, shared_mean)
    size = own.shape[1]
    covariance = (1 - shrinkage) * own + shrinkage * np.eye(size)
    scatter = np.matmul(np.matmul(whitening.T, left_out.scatter(mean)), whitening)
    squares = np.sum(np.linalg.inv(covariance) * scatter)
    log_volume = np.log(np.diagonal(whitening)).sum() * len(own)
    log_variances = np.linalg.slogdet(covariance)[1].sum() - 2 * log_volume
    return float(0.5 * (squares + log_variances * left_out.count))
