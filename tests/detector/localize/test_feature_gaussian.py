"""FeatureGaussian: distances against scipy, the choice of the fit, and where a defect shows."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import nn
from scipy.ndimage import zoom
from scipy.spatial.distance import mahalanobis
from scipy.stats import multivariate_normal

from ppcls_sspcab.detector.localize import feature_gaussian
from ppcls_sspcab.detector.localize.feature_gaussian import FeatureGaussian, Fit, likeliest_fit
from ppcls_sspcab.errors import ConfigError, DataError, ModelError
from ppcls_sspcab.registry import LOCALIZERS

# Pixels are areas: a coarse map's first value lies in the middle of its first cell.
MIDDLES = {"grid_mode": True, "mode": "nearest"}


class Stage(nn.Layer):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2D(before, after, 3, stride=stride, padding=1)

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        return nn.functional.relu(self.conv(images))


class SmallNetwork(nn.Layer):
    """Three stages of stride 4, 8 and 16."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            ("first", Stage(3, 6, 4)), ("second", Stage(6, 8, 2)), ("third", Stage(8, 10, 2))
        )

    def embed(self, images: paddle.Tensor) -> paddle.Tensor:
        return self.backbone(images).mean(axis=[2, 3])


def build(size: tuple[int, int] = (64, 96), **arguments: object) -> FeatureGaussian:
    paddle.seed(0)
    section = {"name": "FeatureGaussian", "channels": 5, **arguments}
    return LOCALIZERS.build(section, "Localize", network=SmallNetwork(), image_size=list(size))


def cells(count: int, grid: tuple[int, int], seed: int = 0, channels: int = 5) -> np.ndarray:
    """Cells with a mean for each place and one covariance."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(1).normal(size=(channels, channels))
    mean = np.random.default_rng(2).normal(size=(channels, *grid))
    noise = np.einsum("cd,ndhw->nchw", mixing, rng.normal(size=(count, channels, *grid)))
    return (mean + noise).astype(np.float32)


def test_the_grid_is_the_finest_with_at_most_400_cells() -> None:
    assert build((64, 96)).grid == (16, 24)
    assert build((128, 128)).grid == (16, 16)
    assert build((512, 512)).grid == (16, 16)
    assert build().needs == ("backbone.first", "backbone.second")


@pytest.mark.parametrize("fit", [Fit(False, 0.3), Fit(False, 1.0), Fit(True, 1.0), Fit(True, 0.5)])
def test_distances_are_those_of_scipy(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_gaussian, "likeliest_fit", lambda points: fit)
    localizer = build((32, 48))
    good, others = cells(12, localizer.grid), cells(3, localizer.grid, seed=9)
    localizer.fit(good)
    found = localizer.distances(paddle.to_tensor(others)).numpy()
    points = good.astype(np.float64).transpose(2, 3, 0, 1)
    means = points.mean(axis=2)
    if fit.shared_mean:
        means = np.broadcast_to(means.mean(axis=(0, 1)), means.shape)
    centred = points - means[:, :, None]
    freedom = 12 if fit.shared_mean else 11
    own = np.einsum("hwnc,hwnd->hwcd", centred, centred) / freedom
    covariance = (1 - fit.shrinkage) * own + fit.shrinkage * own.mean(axis=(0, 1))
    for place in np.ndindex(*localizer.grid):
        inverse = np.linalg.inv(covariance[place])
        for picture in range(3):
            vector = others[picture][:, place[0], place[1]].astype(np.float64)
            expected = mahalanobis(vector, means[place], inverse)
            assert found[picture][place] == pytest.approx(expected, rel=2e-3)


def test_good_pictures_decide_what_the_places_share() -> None:
    rng = np.random.default_rng(0)
    texture = rng.normal(size=(30, 40, 4))
    assert likeliest_fit(texture).shared_mean
    assert likeliest_fit(texture).shrinkage > 0.9
    part = texture + 5 * rng.normal(size=(30, 1, 4))
    assert not likeliest_fit(part).shared_mean
    stretched = part * np.exp(2 * rng.normal(size=(30, 1, 4)))
    assert likeliest_fit(stretched).shrinkage < 0.5


@pytest.mark.parametrize("shared", [False, True])
def test_the_likelihood_is_that_of_scipy(shared: bool) -> None:
    rng = np.random.default_rng(0)
    fitted, left_out = rng.normal(size=(5, 12, 3)), rng.normal(size=(5, 4, 3))
    found = feature_gaussian._costs(fitted, left_out, shared)
    expected = []
    for shrinkage in feature_gaussian.SHRINKAGES:
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
    localizer = build((32, 32))
    good = cells(count, localizer.grid)
    localizer.fit(good)
    new = cells(20, localizer.grid, seed=5)
    bad = new.copy()
    bad[:, :, 3, 4] += 25
    calm = localizer(paddle.to_tensor(new)).numpy()
    alarmed = localizer(paddle.to_tensor(bad)).numpy()
    assert calm.shape == (20, 32, 32)
    assert np.isfinite(alarmed).all()
    assert (alarmed.max(axis=(1, 2)) > 1.5 * calm.max(axis=(1, 2))).all()
    peaks = [np.unravel_index(picture.argmax(), (32, 32)) for picture in alarmed]
    step = 32 // localizer.grid[0]
    assert all(
        abs(row - 3.5 * step) <= step and abs(col - 4.5 * step) <= step for row, col in peaks
    )


def test_a_constant_picture_set_gives_finite_maps() -> None:
    localizer = build((32, 32))
    localizer.fit(np.ones((5, 5, *localizer.grid), np.float32))
    assert np.isfinite(localizer(paddle.zeros([1, 5, *localizer.grid])).numpy()).all()


def test_cells_are_a_projection_of_the_maps_brought_to_one_grid() -> None:
    localizer = build((64, 64), layers=["first", "second"], channels=14)
    assert localizer.grid == (16, 16)
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(2, 8, 8, 8)).astype(np.float32)
    fine = rng.normal(size=(2, 6, 16, 16)).astype(np.float32)
    # As many channels out as in, so the matrix is orthogonal and keeps every length.
    for first, second, expected in (
        (fine, np.zeros_like(coarse), fine),
        (np.zeros_like(fine), coarse, zoom(coarse, (1, 1, 2, 2), order=1, **MIDDLES)),
    ):
        features = {"backbone.first": first, "backbone.second": second}
        tensors = {name: paddle.to_tensor(value) for name, value in features.items()}
        found = localizer.cells(tensors).numpy()
        assert found.shape == (2, 14, 16, 16)
        lengths = np.linalg.norm(expected, axis=1)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), lengths, rtol=1e-3)


def test_wrong_input_is_refused() -> None:
    localizer = build((32, 32))
    with pytest.raises(DataError, match="at least 2"):
        localizer.fit(cells(1, localizer.grid))
    with pytest.raises(ModelError, match="do not fit"):
        localizer.fit(cells(3, (2, 2)))
    with pytest.raises(ModelError, match="not finite"):
        localizer.fit(np.full((3, 5, *localizer.grid), np.nan, np.float32))
    with pytest.raises(ConfigError, match=r"channels must lie in 1\.\.14"):
        build(channels=25)
    with pytest.raises(ConfigError, match=r"no layer 'frist'.*'first'"):
        build(layers=["frist"])
    with pytest.raises(ConfigError, match="at least one"):
        build(layers=[])
    with pytest.raises(ConfigError, match="smoothing"):
        build(smoothing=1.0)
