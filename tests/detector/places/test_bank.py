"""The memory bank, against scikit-learn's neighbours and a plain greedy choice."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from sklearn.neighbors import NearestNeighbors

from ppcls_sspcab.detector.places import bank as bank_module
from ppcls_sspcab.detector.places.bank import MemoryBank, greedy_coreset
from ppcls_sspcab.errors import DataError, ModelError

SHAPE = (6, 4, 5)


def cells(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(3, 1, (count, *SHAPE)).astype(np.float32)


def located(bank: MemoryBank, found: np.ndarray, position: float) -> np.ndarray:
    """Projected features with weighted coordinates, [N * L, d + 2]."""
    count, _, height, width = found.shape
    flat = found.reshape(count, SHAPE[0], -1).transpose(0, 2, 1) @ bank.projection.numpy()
    rows, columns = np.mgrid[0:height, 0:width]
    where = np.stack([(rows + 0.5) / height, (columns + 0.5) / width], axis=-1).reshape(-1, 2)
    joined = np.concatenate([flat, np.tile(position * where, (count, 1, 1))], axis=-1)
    return joined.reshape(-1, joined.shape[-1])


@pytest.mark.parametrize("position", [0.0, 2.0])
def test_distances_are_those_of_the_nearest_neighbour(position: float) -> None:
    bank = MemoryBank(SHAPE, channels=4, size=10_000, position=position)
    good, others = cells(9), cells(3, seed=1)
    bank.fit_batches([good[:5], good[5:]])
    reference = NearestNeighbors(n_neighbors=1).fit(located(bank, good, position))
    expected = reference.kneighbors(located(bank, others, position))[0].reshape(3, 4, 5)
    found = bank(paddle.to_tensor(others)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3)
    # All places are kept, so a good picture has no distance; rounding is a root of 1e-7.
    assert bank(paddle.to_tensor(good)).numpy().max() < 5e-3


def test_features_have_a_mean_squared_length_of_one() -> None:
    bank = MemoryBank(SHAPE, channels=6, size=10_000)
    bank.fit_batches([cells(9)])
    lengths = np.sum(located(bank, cells(9), 0.0) ** 2, axis=1)
    assert lengths.mean() == pytest.approx(1, rel=1e-4)


def test_the_coreset_is_greedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bank_module, "_BLOCK", 7)
    points = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    found = greedy_coreset(points, 12)
    order = [int(np.argmin(np.linalg.norm(points - points.mean(axis=0), axis=1)))]
    while len(order) < 12:
        apart = np.linalg.norm(points[:, None] - points[order][None], axis=2).min(axis=1)
        order.append(int(np.argmax(apart)))
    np.testing.assert_array_equal(found, points[order])
    assert len(greedy_coreset(points, 1000)) == 60
    assert len({tuple(point) for point in greedy_coreset(points, 1000).tolist()}) == 60


def test_candidates_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bank_module, "MOST_CANDIDATES", 60)  # three pictures of twenty places
    bank = MemoryBank(SHAPE, channels=4, size=10_000)
    bank.fit_batches([cells(4), cells(9, seed=1)])
    assert len(bank.bank) <= 60


def test_what_nothing_can_be_fitted_to_is_refused() -> None:
    bank = MemoryBank(SHAPE, channels=4, size=10)
    with pytest.raises(DataError, match="at least 2"):
        bank.fit_batches([cells(1)])
    with pytest.raises(ModelError, match="not finite"):
        bank.fit_batches([np.full((2, *SHAPE), np.nan, np.float32)])
    for wrong in ({"channels": 7, "size": 1}, {"channels": 1, "size": 0}):
        with pytest.raises(ValueError, match="must"):
            MemoryBank(SHAPE, **wrong)
    with pytest.raises(ValueError, match="position"):
        MemoryBank(SHAPE, channels=1, size=1, position=-1)
