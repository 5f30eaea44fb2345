"""Moments, accumulated batch by batch, against the direct formulas."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from ppcls_sspcab.detector.batches import Mapped, sampled
from ppcls_sspcab.detector.moments import Moments


def points(groups: int, count: int, size: int, seed: int = 0) -> np.ndarray:
    """Correlated points [L, n, d], far from zero."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(size, size)) * np.geomspace(1, 30, size)
    return rng.normal(size=(groups, count, size)) @ mixing + 1000 * rng.normal(size=(groups, 1, 1))


def batches_of(values: np.ndarray, size: int) -> list[np.ndarray]:
    return [values[:, start : start + size] for start in range(0, values.shape[1], size)]


@pytest.mark.parametrize("size", [1, 7, 100])
def test_means_and_covariances_are_those_of_all_points_at_once(size: int) -> None:
    values = points(3, 100, 6)
    found = Moments.of(batches_of(values, size))
    assert found.count == 100
    np.testing.assert_allclose(found.mean, values.mean(axis=1), rtol=1e-9)
    for group in range(3):
        expected = np.cov(values[group].T) * 99
        np.testing.assert_allclose(found.scatter()[group], expected, rtol=1e-6)
    about = values.mean(axis=(0, 1))[None] + 1.0
    centred = values - about
    expected = np.einsum("lnd,lne->lde", centred, centred)
    np.testing.assert_allclose(found.scatter(about), expected, rtol=1e-6)


@pytest.mark.parametrize(("count", "size"), [(5, 12), (60, 12), (1000, 4)])
def test_the_shrunk_covariance_is_scikit_learns(count: int, size: int) -> None:
    values = points(1, count, size)
    covariance, shrinkage = Moments.of(batches_of(values, 4)).ledoit_wolf()
    expected = LedoitWolf().fit(values[0])
    assert shrinkage == pytest.approx(expected.shrinkage_, rel=1e-6)
    scale = np.abs(expected.covariance_).max()
    np.testing.assert_allclose(covariance, expected.covariance_, rtol=1e-6, atol=1e-6 * scale)


def test_ten_thousand_pictures_fit_like_the_direct_formula() -> None:
    values = points(1, 10_000, 8)
    covariance, shrinkage = Moments.of(batches_of(values, 32)).ledoit_wolf()
    expected = LedoitWolf().fit(values[0])
    assert shrinkage == pytest.approx(expected.shrinkage_, rel=1e-6)
    np.testing.assert_allclose(covariance, expected.covariance_, rtol=1e-6, atol=1e-6)


def test_parts_add_and_are_taken_off_again() -> None:
    values = points(2, 30, 5)
    origin = values[:, :3].mean(axis=1)
    parts = [Moments(origin), Moments(origin)]
    parts[0].add(values[:, :12])
    parts[1].add(values[:, 12:])
    both = parts[0].merge(parts[1])
    np.testing.assert_allclose(both.mean, values.mean(axis=1))
    back = both.merge(parts[1], sign=-1)
    assert back.count == 12
    scale = np.abs(both.second).max()
    np.testing.assert_allclose(back.scatter(), parts[0].scatter(), atol=1e-9 * scale)
    with pytest.raises(ValueError, match="different origins"):
        both.merge(Moments(origin + 1))


def test_batches_are_made_anew_each_time() -> None:
    doubled = Mapped(lambda value: 2 * value, [1, 2])
    assert list(doubled) == [2, 4]
    assert list(doubled) == [2, 4]


@pytest.mark.parametrize(("limit", "kept"), [(80, 10), (79, 5), (24, 3), (1, 2)])
def test_a_sample_is_evenly_spread_and_bounded(limit: int, kept: int) -> None:
    whole = np.arange(10.0)
    parts = [[whole[:4]], [whole[4:5]], [whole[5:]]]
    (found,) = sampled(parts, limit)
    assert len(found) == kept
    assert len(set(np.diff(found))) <= 1
    assert found[0] == 0


def test_a_sample_keeps_no_batch_in_memory() -> None:
    alive: list[weakref.ref[np.ndarray]] = []

    def batches() -> Iterator[list[np.ndarray]]:
        for _ in range(10):
            batch = np.zeros((100, 8))
            alive.append(weakref.ref(batch))
            yield [batch]
            del batch
            assert sum(one() is not None for one in alive) <= 2

    (found,) = sampled(batches(), limit=10 * 64)
    assert 2 <= len(found) <= 10
