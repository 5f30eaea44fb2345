"""Tiles against plain slices, and the joining of maps against what was cut."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from ppcls_sspcab.arch.tiles import Patches, Tiles, Tiling


def pictures(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def cut(tiles: Tiles, images: np.ndarray) -> np.ndarray:
    return tiles.cut(paddle.to_tensor(images)).numpy()


def test_patches_are_slices_at_every_stride() -> None:
    images = pictures(2, 3, 21, 30)
    patches = Patches((21, 30), 8, 5)
    assert patches.grid == (3, 5)
    expected = [
        image[:, top : top + 8, left : left + 8]
        for image in images
        for top in (0, 5, 10)
        for left in (0, 5, 10, 15, 20)
    ]
    np.testing.assert_array_equal(cut(patches, images), expected)


@pytest.mark.parametrize(
    ("image_size", "size", "overlap"),
    [((40, 70), (16, 24), 0.25), ((33, 64), (32, 32), 0.0), ((20, 20), (20, 20), 0.5)],
)
def test_what_was_cut_joins_to_the_picture_again(
    image_size: tuple[int, int], size: tuple[int, int], overlap: float
) -> None:
    tiling = Tiling(image_size, size, overlap)
    images = pictures(3, 1, *image_size)
    tiles = cut(tiling, images)
    assert tiles.shape == (3 * tiling.count, 1, *size)
    joined = tiling.join(paddle.to_tensor(tiles[:, 0])).numpy()
    np.testing.assert_allclose(joined, images[:, 0], atol=1e-5)


def test_tiles_cover_the_picture_and_overlap_as_asked() -> None:
    tiling = Tiling((256, 1000), (128, 100), 0.3)
    columns = tiling.columns.numpy().reshape(-1, 100)
    assert columns[0, 0] == 0
    assert columns[-1, -1] == 999
    shared = columns[:-1, -1] - columns[1:, 0] + 1
    assert shared.min() >= 30
    assert shared.max() - shared.min() <= 1


def test_a_seam_is_a_ramp_and_no_step() -> None:
    tiling = Tiling((8, 28), (8, 16), 0.25)
    maps = np.zeros((2, 8, 16), np.float32)
    maps[1] = 1.0
    row = tiling.join(paddle.to_tensor(maps)).numpy()[0, 3]
    np.testing.assert_allclose(row[:12], 0)
    np.testing.assert_allclose(row[12:16], [0.2, 0.4, 0.6, 0.8], atol=1e-6)
    np.testing.assert_allclose(row[16:], 1)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="a tile of 64x16 does not fit"):
        Tiling((32, 32), (64, 16), 0.25)
    with pytest.raises(ValueError, match=r"0\.\.0\.75"):
        Tiling((32, 32), (16, 16), 0.9)
    with pytest.raises(ValueError, match="a patch of 40x40"):
        Patches((32, 64), 40, 4)
    with pytest.raises(ValueError, match="stride"):
        Patches((32, 64), 16, 0)
