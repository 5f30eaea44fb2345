"""Gaussians of places: distances against scipy, the choice of the fit, few and many pictures."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from scipy.spatial.distance import mahalanobis
from scipy.stats import multivariate_normal

from ppcls_sspcab.detector.moments import Moments
from ppcls_sspcab.detector.places import gaussian
from ppcls_sspcab.detector.places.gaussian import PlaceGaussians
from ppcls_sspcab.detector.places.gaussian_fit import cost, shares_mean
from ppcls_sspcab.errors import DataError, ModelError

SHAPE = (5, 4, 6)


def cells(count: int, seed: int = 0) -> np.ndarray:
    """Features with a mean for each place and one covariance."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(1).normal(size=(SHAPE[0], SHAPE[0]))
    mean = np.random.default_rng(2).normal(size=SHAPE)
    return (mean + np.einsum("cd,ndhw->nchw", mixing, rng.normal(size=(count, *SHAPE)))).astype(
        np.float32
    )


def covariances(
    good: np.ndarray, shared_mean: bool, shrinkage: float
) -> tuple[np.ndarray, np.ndarray]:
    """Means [h, w, d] and covariances [h, w, d, d] by the direct formula."""
    points = good.astype(np.float64).transpose(2, 3, 0, 1)
    means = points.mean(axis=2)
    if shared_mean:
        means = np.broadcast_to(means.mean(axis=(0, 1)), means.shape)
    centred = points - means[:, :, None]
    freedom = len(good) if shared_mean else len(good) - 1
    own = np.einsum("hwnc,hwnd->hwcd", centred, centred) / freedom
    return means, (1 - shrinkage) * own + shrinkage * own.mean(axis=(0, 1))


@pytest.mark.parametrize("shared_mean", [False, True])
@pytest.mark.parametrize("shrinkage", [0.3, 1.0])
def test_distances_are_those_of_scipy(
    shared_mean: bool, shrinkage: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gaussian, "shares_mean", lambda folds, _: shared_mean)
    layer = PlaceGaussians(SHAPE, rank=5, shrinkage=shrinkage)
    good, others = cells(12), cells(3, seed=9)
    layer.fit_batches([good[:1], good[1:8], good[8:]])
    found = layer(paddle.to_tensor(others)).numpy()
    means, covariance = covariances(good, shared_mean, shrinkage)
    for place in np.ndindex(*SHAPE[1:]):
        inverse = np.linalg.inv(covariance[place])
        for picture in range(3):
            vector = others[picture][:, place[0], place[1]].astype(np.float64)
            expected = mahalanobis(vector, means[place], inverse)
            assert found[picture][place] == pytest.approx(expected, rel=2e-3)


def test_directions_left_out_have_the_mean_of_their_variances(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gaussian, "shares_mean", lambda folds, _: False)
    layer = PlaceGaussians(SHAPE, rank=2, shrinkage=0.3)
    good, others = cells(12), cells(3, seed=9)
    layer.fit_batches([good])
    found = layer(paddle.to_tensor(others)).numpy()
    means, own = covariances(good, False, 0.0)
    shared = own.mean(axis=(0, 1))
    whitening = np.linalg.inv(np.linalg.cholesky(shared)).T
    for place in np.ndindex(*SHAPE[1:]):
        values, vectors = np.linalg.eigh(whitening.T @ own[place] @ whitening)
        values = 0.7 * values + 0.3
        values[:3] = values[:3].mean()
        vector = others[0][:, place[0], place[1]] - means[place]
        expected = np.sqrt(np.sum((vector @ whitening @ vectors) ** 2 / values))
        assert found[0][place] == pytest.approx(expected, rel=2e-3)


def test_any_order_and_size_of_batches_gives_the_same() -> None:
    good, others = cells(40), paddle.to_tensor(cells(3, seed=9))
    whole, parts = PlaceGaussians(SHAPE), PlaceGaussians(SHAPE)
    whole.fit_batches([good])
    parts.fit_batches([good[start : start + 3] for start in range(0, 40, 3)])
    np.testing.assert_allclose(whole(others).numpy(), parts(others).numpy(), rtol=1e-4)


def folds(points: np.ndarray) -> list[Moments]:
    """Four folds of points [L, N, d]."""
    made = [Moments(points.mean(axis=1)) for _ in range(4)]
    for number, fold in enumerate(made):
        fold.add(points[:, number::4])
    return made


def test_good_pictures_decide_whether_places_share_a_mean() -> None:
    rng = np.random.default_rng(0)
    texture = rng.normal(size=(30, 40, 4))
    assert shares_mean(folds(texture), 0.35)
    assert not shares_mean(folds(texture + 5 * rng.normal(size=(30, 1, 4))), 0.35)


def test_versions_of_a_picture_are_left_out_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a version would vouch for its place, and a texture would get a mean for each."""
    decided = []
    monkeypatch.setattr(
        gaussian, "shares_mean", lambda *given: decided.append(shares_mean(*given)) or decided[-1]
    )
    rng = np.random.default_rng(0)
    texture = np.repeat(rng.normal(size=(12, *SHAPE)), 2, axis=0)
    texture += 1e-2 * rng.normal(size=texture.shape)
    PlaceGaussians(SHAPE).fit_batches([texture[:7], texture[7:]])
    assert decided == [True]


def test_two_pictures_are_enough() -> None:
    places = PlaceGaussians(SHAPE)
    places.fit_batches([np.random.default_rng(0).normal(size=(2, *SHAPE))])
    assert np.isfinite(places(paddle.zeros([1, *SHAPE])).numpy()).all()


@pytest.mark.parametrize("shared", [False, True])
def test_the_likelihood_is_that_of_scipy(shared: bool) -> None:
    rng = np.random.default_rng(0)
    fitted, left_out = rng.normal(size=(5, 12, 3)), rng.normal(size=(5, 4, 3))
    moments = [Moments(fitted.mean(axis=1)) for _ in range(2)]
    moments[0].add(fitted)
    moments[1].add(left_out)
    shrinkages = (0.1, 0.5, 1.0)
    found = [cost(*moments, shrinkage, shared) for shrinkage in shrinkages]
    expected = []
    for shrinkage in shrinkages:
        means = fitted.mean(axis=1)
        means = np.tile(means.mean(axis=0), (5, 1)) if shared else means
        centred = fitted - means[:, None]
        own = np.einsum("lnc,lnd->lcd", centred, centred) / (12 if shared else 11)
        covariance = (1 - shrinkage) * own + shrinkage * own.mean(axis=0)
        expected.append(
            -sum(
                multivariate_normal(means[place], covariance[place]).logpdf(left_out[place]).sum()
                for place in range(5)
            )
        )
    np.testing.assert_allclose(np.diff(found), np.diff(expected), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("count", [2, 3, 10])
def test_few_good_pictures_suffice(count: int) -> None:
    layer = PlaceGaussians(SHAPE)
    layer.fit_batches([cells(count)])
    new = cells(20, seed=5)
    bad = new.copy()
    bad[:, :, 3, 4] += 25
    calm, alarmed = (layer(paddle.to_tensor(some)).numpy() for some in (new, bad))
    assert np.isfinite(alarmed).all()
    assert (alarmed.max(axis=(1, 2)) > 1.5 * calm.max(axis=(1, 2))).all()
    assert (alarmed.reshape(20, -1).argmax(axis=1) == 3 * 6 + 4).all()


def test_a_constant_picture_set_gives_finite_distances() -> None:
    for value in (1.0, 0.0):
        layer = PlaceGaussians(SHAPE)
        layer.fit_batches([np.full((5, *SHAPE), value, np.float32)])
        assert np.isfinite(layer(paddle.zeros([1, *SHAPE])).numpy()).all()
        assert np.isfinite(layer(paddle.full([1, *SHAPE], 1e30)).numpy()).all()


def test_wrong_input_is_refused() -> None:
    layer = PlaceGaussians(SHAPE)
    with pytest.raises(DataError, match="at least 2"):
        layer.fit_batches([cells(1)])
    with pytest.raises(ModelError, match="do not fit"):
        layer.fit_batches([np.zeros((3, 5, 2, 2), np.float32)])
    with pytest.raises(ModelError, match="not finite"):
        layer.fit_batches([np.full((3, *SHAPE), np.nan, np.float32)])
    with pytest.raises(ValueError, match=r"channels must lie in 1\.\.5"):
        PlaceGaussians(SHAPE, channels=25)
    with pytest.raises(ValueError, match="rank"):
        PlaceGaussians(SHAPE, rank=0)
    with pytest.raises(ValueError, match="shrinkage"):
        PlaceGaussians(SHAPE, shrinkage=0.0)
