"""Metrics of image scores, and how far they can be trusted.

All of them take ``labels`` int [N] (0 good, 1 bad) and ``scores`` float [N], larger for worse
parts, and return a float; with scores [B, N] they return float64 [B]. Equal scores are one step of
the curve, so the order of the pictures never counts. A metric that needs both kinds of pictures
is NaN when one is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ppcls_sspcab.registry import METRICS

Metric = Callable[[np.ndarray, np.ndarray], Any]


@METRICS.register
def image_auroc(labels: np.ndarray, scores: np.ndarray) -> Any:
    """Area under the ROC curve: the chance that a bad picture scores above a good one."""
    from scipy.stats import rankdata

    bad, scores = _parts(labels, scores)
    count, others = int(bad.sum()), int((~bad).sum())
    if not count or not others:
        return _value(np.full(scores.shape[:-1], np.nan))
    ranks = rankdata(scores, axis=-1)[..., bad].sum(axis=-1)
    return _value((ranks - count * (count + 1) / 2) / (count * others))


@METRICS.register
def image_aupr(labels: np.ndarray, scores: np.ndarray) -> Any:
    """Area under the precision-recall curve as average precision, bad pictures positive."""
    bad, scores = _parts(labels, scores)
    if bad.all() or not bad.any():
        return _value(np.full(scores.shape[:-1], np.nan))
    hits, alarms, ends = _curve(bad, scores)
    # Between the ends of runs of equal scores, hits keep the last end's value.
    held = np.maximum.accumulate(np.where(ends, hits, 0), axis=-1)
    gained = np.diff(held, axis=-1, prepend=0)
    return _value((gained * hits / (hits + alarms)).sum(axis=-1) / bad.sum())


@METRICS.register
def f1_max(labels: np.ndarray, scores: np.ndarray) -> Any:
    """The greatest F1 of any threshold: an upper bound, chosen on the test pictures."""
    bad, scores = _parts(labels, scores)
    if bad.all() or not bad.any():
        return _value(np.full(scores.shape[:-1], np.nan))
    hits, alarms, ends = _curve(bad, scores)
    return _value(np.where(ends, 2 * hits / (hits + alarms + bad.sum()), 0.0).max(axis=-1))


def f1(labels: np.ndarray, scores: np.ndarray, threshold: float) -> Any:
    """F1 of ``score > threshold``, bad pictures positive; NaN without both kinds."""
    bad, scores = _parts(labels, scores)
    if bad.all() or not bad.any():
        return _value(np.full(scores.shape[:-1], np.nan))
    called = scores > threshold
    hits = (called & bad).sum(axis=-1)
    return _value(2 * hits / (called.sum(axis=-1) + bad.sum()))


def false_alarm_rate(labels: np.ndarray, scores: np.ndarray, threshold: float) -> Any:
    """Share of the good pictures with ``score > threshold``; NaN without good ones."""
    bad, scores = _parts(labels, scores)
    return _share(scores[..., ~bad] > threshold)


def detection_rate(labels: np.ndarray, scores: np.ndarray, threshold: float) -> Any:
    """Share of the bad pictures with ``score > threshold`` (recall); NaN without bad ones."""
    bad, scores = _parts(labels, scores)
    return _share(scores[..., bad] > threshold)


def accuracy(labels: np.ndarray, scores: np.ndarray, threshold: float) -> Any:
    """Share of all pictures that ``score > threshold`` puts on the right side; NaN without both
    kinds: of good ones alone it would be the false-alarm rate under a better name.
    """
    bad, scores = _parts(labels, scores)
    if bad.all() or not bad.any():
        return _value(np.full(scores.shape[:-1], np.nan))
    return _share((scores > threshold) == bad)


def bootstrap_interval(
    metric: Metric,
    labels: np.ndarray,
    scores: np.ndarray,
    seed: int,
    *,
    samples: int = 1000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval (Efron 1979), with good and bad pictures drawn separately.

    It says how much the metric would vary with other test pictures of the same kind. Where every
    sample agrees (F1 of 1) that is no certainty, and both bounds are NaN. For rates
    :func:`rate_interval` and for AUROC :func:`auroc_interval` know how few pictures there are.

    Args:
        metric: takes ``labels`` [N] and ``scores`` [B, N], as those of this file do.
        samples: B, number of resampled test sets.
        level: share of the samples inside the interval.
    """
    return quantiles(bootstrap_values(metric, labels, scores, seed, samples=samples), level)


def quantiles(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The bounds between which the middle ``level`` of resampled values lies; NaN if all agree."""
    if not values.min() < values.max():
        return np.nan, np.nan
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_values(
    metric: Metric, labels: np.ndarray, scores: np.ndarray, seed: int, *, samples: int = 1000
) -> np.ndarray:
    """The metric of each resampled test set, float64 [B]; see :func:`bootstrap_interval`."""
    bad, scores = _parts(labels, scores)
    rng = np.random.default_rng(seed)
    drawn = np.empty((samples, len(bad)), np.int64)
    for kind in (False, True):
        members = np.flatnonzero(bad == kind)
        if len(members):
            drawn[:, members] = members[rng.integers(len(members), size=(samples, len(members)))]
    return np.asarray(metric(bad.astype(np.int64), scores[drawn]), np.float64)


def rate_interval(count: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval (Clopper and Pearson 1934) of a rate that was seen as ``count`` of ``total``.

    No false alarm in 20 pictures still allows a rate of 0.17. NaN without pictures.
    """
    from scipy.stats import beta

    if not total:
        return np.nan, np.nan
    tail = (1 - level) / 2
    low = beta.ppf(tail, count, total - count + 1) if count else 0.0
    high = beta.ppf(1 - tail, count + 1, total - count) if count < total else 1.0
    return float(low), float(high)


def auroc_interval(value: float, good: int, bad: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of an AUROC of so many pictures (Newcombe 2006, method 5), NaN without both kinds.

    It holds every AUROC from which ``value`` is not further than chance explains. So 1.000 on few
    pictures is no certainty: of 12 good and 8 bad ones it allows 0.79.
    """
    from scipy.optimize import brentq
    from scipy.stats import norm

    if not good or not bad:
        return np.nan, np.nan
    reach = norm.ppf((1 + level) / 2)

    def surplus(true: float) -> float:
        spread = (1 - true) / (2 - true) + true / (1 + true)
        variance = true * (1 - true) / (good * bad) * (1 + ((good + bad) / 2 - 1) * spread)
        return float(abs(value - true) - reach * np.sqrt(variance))

    # At 0 and 1 nothing varies: the bound lies beyond that root.
    low = brentq(surplus, 0.0, min(value, 1 - 1e-9)) if value > 0 else 0.0
    high = brentq(surplus, max(value, 1e-9), 1.0) if value < 1 else 1.0
    return float(low), float(high)


def _parts(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    bad, scores = np.asarray(labels).astype(bool), np.asarray(scores, np.float64)
    if bad.ndim != 1 or scores.ndim < 1 or scores.shape[-1] != len(bad):
        raise ValueError(f"labels {list(bad.shape)} and scores {list(scores.shape)} do not match")
    return bad, scores


def _curve(bad: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hits and false alarms [..., N] when everything down to each picture is called bad, worst
    first, and where a run of equal scores ends: only there they count.
    """
    order = np.argsort(-scores, axis=-1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=-1)
    ends = np.ones(ranked.shape, bool)
    ends[..., :-1] = ranked[..., 1:] != ranked[..., :-1]
    hits = np.cumsum(bad[order], axis=-1)
    return hits, np.arange(1, len(bad) + 1) - hits, ends


def _share(called: np.ndarray) -> Any:
    if not called.shape[-1]:
        return _value(np.full(called.shape[:-1], np.nan))
    return _value(called.mean(axis=-1))


def _value(result: np.ndarray) -> Any:
    return result if np.ndim(result) else float(result)
