"""Features of places with those around them, against scipy."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import nn
from scipy.ndimage import convolve, zoom

from ppcls_sspcab.detector.places.neighbourhood import NeighbourhoodFeatures
from ppcls_sspcab.detector.places.surround import Surround
from ppcls_sspcab.errors import ConfigError

# Pixels are areas: a coarse map's first value lies in the middle of its first cell.
MIDDLES = {"grid_mode": True, "mode": "nearest"}


class Stages(nn.Layer):
    """Three stages of stride 4, 8 and 16."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            ("first", nn.Conv2D(3, 6, 3, stride=4, padding=1)),
            ("second", nn.Conv2D(6, 8, 3, stride=2, padding=1)),
            ("third", nn.Conv2D(8, 10, 3, stride=2, padding=1)),
        )

    def embed(self, images: paddle.Tensor) -> paddle.Tensor:
        return self.backbone(images).mean(axis=[2, 3])


def build(size: tuple[int, int] = (64, 64), **arguments: object) -> NeighbourhoodFeatures:
    return NeighbourhoodFeatures(Stages(), size, **arguments)


def local_mean(maps: np.ndarray, side: int) -> np.ndarray:
    """The mean of the places around each that lie in the map, [N, C, h, w]."""
    kernel = np.ones((1, 1, side, side))
    counts = convolve(np.ones(maps.shape), kernel, mode="constant")
    return convolve(maps.astype(float), kernel, mode="constant") / counts


def test_places_are_local_means_on_one_grid() -> None:
    made = build(layers=["second", "third"], grid=[4, 4])
    assert made.shape == (18, 4, 4)
    assert made.needs == ("backbone.second", "backbone.third")
    rng = np.random.default_rng(0)
    fine, coarse = rng.normal(size=(2, 8, 8, 8)), rng.normal(size=(2, 10, 4, 4))
    features = dict(zip(made.needs, (fine, coarse), strict=True))
    tensors = {name: paddle.to_tensor(value, "float32") for name, value in features.items()}
    halved = local_mean(fine, 3).reshape(2, 8, 4, 2, 4, 2).mean(axis=(3, 5))
    expected = np.concatenate([halved, local_mean(coarse, 3)], axis=1)
    np.testing.assert_allclose(made(tensors).numpy(), expected, atol=1e-5)


def test_a_coarse_map_is_interpolated() -> None:
    made = build(layers=["third"], grid=[8, 8], neighbourhood=1)
    coarse = np.random.default_rng(0).normal(size=(2, 10, 4, 4))
    found = made({"backbone.third": paddle.to_tensor(coarse, "float32")}).numpy()
    np.testing.assert_allclose(found, zoom(coarse, (1, 1, 2, 2), order=1, **MIDDLES), atol=1e-5)


@pytest.mark.parametrize(
    ("size", "grid"),
    [((64, 96), (4, 6)), ((256, 256), (16, 16)), ((512, 512), (32, 32)), ((1024, 512), (32, 16))],
)
def test_the_grid_has_a_place_for_sixteen_pixels_and_at_most_1024(
    size: tuple[int, int], grid: tuple[int, int]
) -> None:
    assert build(size).shape[1:] == grid
    finer = build(size, strides=(4, 8)).shape[1:]
    assert finer[0] * finer[1] <= 1024


def test_another_stride_takes_the_place_of_one_that_no_layer_has() -> None:
    assert build(strides=(32,)).needs == ("backbone.third",)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="odd"):
        build(neighbourhood=2)
    with pytest.raises(ValueError, match=r"\[height, width\]"):
        build(grid=[4])
    with pytest.raises(ValueError, match="at least one layer"):
        build(layers=[])
    with pytest.raises(ConfigError, match=r"Score\.layers.*no layer 'frist'.*'first'"):
        build(layers=["frist"], key="Score")


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_surround_is_the_mean_of_a_square(share: float) -> None:
    distances = np.random.default_rng(0).uniform(0, 9, (2, 8, 12))
    found = Surround((8, 12), share)(paddle.to_tensor(distances, "float32")).numpy()
    kernel = np.ones((1, 5, 7))
    around = convolve(distances, kernel, mode="constant")
    around /= convolve(np.ones_like(distances), kernel, mode="constant")
    np.testing.assert_allclose(found, distances - share * around, atol=1e-5)
    with pytest.raises(ValueError, match="surround"):
        Surround((8, 12), 1.5)
