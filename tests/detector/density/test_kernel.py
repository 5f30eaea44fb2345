"""KernelDensity against scikit-learn's, its bandwidth, and its degenerate cases."""

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut
from sklearn.neighbors import KernelDensity as Reference

from ppcls_sspcab.detector.density.kernel import KernelDensity, likeliest_bandwidth
from ppcls_sspcab.errors import DataError, ModelError


def embeddings(count, size, seed=0, spread=0.2):
    rng = np.random.default_rng(seed)
    return (1.0 + spread * rng.normal(size=(count, size))).astype(np.float32)


def reference_score(good, others, bandwidth):
    """scikit-learn's log density, less the documented constant."""
    log_density = Reference(bandwidth=bandwidth).fit(good).score_samples(others)
    return -log_density - good.shape[1] / 2 * np.log(2 * np.pi * bandwidth**2)


def unit(points):
    points = points.astype(np.float64)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


@pytest.mark.parametrize("bandwidth", [0.02, 0.1, 3.0])
@pytest.mark.parametrize("normalize", [True, False])
def test_is_the_negative_log_density(bandwidth, normalize):
    good, others = embeddings(40, 24), embeddings(30, 24, seed=1, spread=0.5)
    density = KernelDensity(24, normalize, bandwidth)
    density.fit(good)
    prepare = unit if normalize else np.float64
    expected = reference_score(prepare(good), prepare(others), bandwidth)
    np.testing.assert_allclose(density.score(others), expected, rtol=1e-4, atol=1e-6)


def test_close_embeddings_keep_their_digits():
    rng = np.random.default_rng(0)
    base = rng.normal(size=64)
    good = (base + 3e-3 * rng.normal(size=(60, 64))).astype(np.float32)
    density = KernelDensity(64, normalize=False)
    density.fit(good[:50])
    bandwidth = density.bandwidth.item()
    expected = reference_score(good[:50].astype(float), good[50:].astype(float), bandwidth)
    np.testing.assert_allclose(density.score(good[50:]), expected, rtol=1e-3)


@pytest.mark.parametrize("size", [2, 16])
def test_the_bandwidth_has_the_greatest_likelihood_of_left_out_pairs(size):
    points = np.random.default_rng(3).normal(size=(40, size))
    widths = np.geomspace(0.05, 5, 60)
    pairs = list(LeaveOneGroupOut().split(points, groups=np.arange(40) // 2))
    search = GridSearchCV(Reference(), {"bandwidth": widths}, cv=pairs).fit(points)
    found = likeliest_bandwidth(points)
    likelihood = GridSearchCV(Reference(), {"bandwidth": [found]}, cv=pairs).fit(points)
    assert likelihood.best_score_ >= search.best_score_ - 1e-9
    assert abs(np.log(found / search.best_params_["bandwidth"])) < 2 * np.log(widths[1] / widths[0])


def test_the_bandwidth_follows_the_unit_of_the_embeddings():
    points = np.random.default_rng(3).normal(size=(40, 8))
    assert likeliest_bandwidth(1000 * points) == pytest.approx(
        1000 * likeliest_bandwidth(points), rel=1e-3
    )


def test_copies_do_not_shrink_the_bandwidth():
    points = np.random.default_rng(3).normal(size=(40, 8))
    copied = np.concatenate([points, points])
    assert likeliest_bandwidth(copied) == pytest.approx(likeliest_bandwidth(points), rel=1e-3)


def test_near_copies_in_a_row_do_not_shrink_the_bandwidth():
    rng = np.random.default_rng(3)
    points = rng.normal(size=(40, 8))
    versions = np.repeat(points, 2, axis=0) + 1e-3 * rng.normal(size=(80, 8))
    assert likeliest_bandwidth(versions) == pytest.approx(likeliest_bandwidth(points), rel=0.05)


def test_outliers_rank_above_good_pictures():
    density = KernelDensity(24)
    density.fit(embeddings(60, 24))
    good = density.score(embeddings(20, 24, seed=1))
    bad = density.score(embeddings(20, 24, seed=2, spread=1.0))
    assert good.max() < bad.min()


@pytest.mark.parametrize(
    "good",
    [
        np.ones((5, 8)),
        np.zeros((5, 8)),
        np.eye(8)[:2],
        np.eye(8)[[0] * 20 + [1]],
        np.ones((5, 8)) * 1e-30,
        np.ones((5, 8)) * 1e30,
    ],
    ids=["constant", "zero", "two", "one differs", "tiny", "huge"],
)
@pytest.mark.parametrize("normalize", [True, False])
def test_degenerate_pictures_give_finite_scores(good, normalize):
    density = KernelDensity(8, normalize)
    density.fit(good)
    others = np.concatenate([good, np.random.default_rng(0).normal(size=(5, 8)), np.zeros((1, 8))])
    scores = density.score(others)
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()
    assert np.isfinite(density.score(np.full((1, 8), 3e38))).all()


def test_arrays_restore_a_density_of_another_number_of_pictures():
    density, restored = KernelDensity(8), KernelDensity(8)
    density.fit(embeddings(30, 8))
    restored.fit(embeddings(12, 8, seed=9))
    restored.load_arrays(density.arrays())
    others = embeddings(5, 8, seed=1)
    np.testing.assert_array_equal(density.score(others), restored.score(others))


def test_refitting_forgets_the_first_fit():
    first, second = KernelDensity(8), KernelDensity(8)
    first.fit(embeddings(30, 8, seed=1))
    first.fit(embeddings(20, 8, seed=2))
    second.fit(embeddings(20, 8, seed=2))
    for name, array in first.arrays().items():
        np.testing.assert_array_equal(array, second.arrays()[name])


def test_wrong_input_is_refused():
    with pytest.raises(DataError, match="at least 2"):
        KernelDensity(8).fit(np.ones((1, 8)))
    with pytest.raises(ModelError, match="not finite"):
        KernelDensity(8).fit(np.full((3, 8), np.nan))
    with pytest.raises(ValueError, match="greater than 0"):
        KernelDensity(8, bandwidth=0.0)
    with pytest.raises(ModelError, match="another density"):
        KernelDensity(8).load_arrays({"mean": np.zeros(8)})


def test_an_unfitted_density_calls_nothing_good():
    assert np.isnan(KernelDensity(8).score(np.ones((2, 8)))).all()
