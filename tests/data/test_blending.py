"""Blending against a plain solution of the same equations, and against what must not be seen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve

from ppcls_sspcab.data.blending import feather, ring, seamless

quick = settings(max_examples=25, deadline=None)
sides = st.integers(2, 24)


def around_of(picture: np.ndarray) -> np.ndarray:
    """The ring around the inner pixels of a picture [h + 2, w + 2, 3]."""
    rows, columns = ring(picture.shape[0] - 2, picture.shape[1] - 2)
    return picture[rows + 1, columns + 1]


def solved(patch: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Each pixel's differences to its four neighbours are the patch's, by one sparse system."""
    height, width = patch.shape[:2]
    matrix = lil_matrix((height * width, height * width))
    right_side = np.zeros((height * width, 3))
    padded = np.pad(patch.astype(float), ((1, 1), (1, 1), (0, 0)), "edge")
    for row in range(height):
        for column in range(width):
            index = row * width + column
            matrix[index, index] = 4
            for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                i, j = row + down, column + right
                right_side[index] += patch[row, column] - padded[i + 1, j + 1]
                if 0 <= i < height and 0 <= j < width:
                    matrix[index, i * width + j] = -1
                else:
                    right_side[index] += picture[i + 1, j + 1]
    return spsolve(matrix.tocsr(), right_side).reshape(height, width, 3)


@given(st.integers(0, 2**32), sides, sides)
@quick
def test_seamless_solves_poissons_equation(seed, height, width):
    rng = np.random.default_rng(seed)
    patch = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    picture = rng.integers(0, 256, (height + 2, width + 2, 3), dtype=np.uint8)
    expected = solved(patch, picture).clip(0, 255)
    assert np.abs(seamless(patch, around_of(picture)) - expected).max() <= 0.51


@pytest.mark.parametrize("lighter", [-40, 0, 40])
def test_a_patch_of_the_place_itself_in_another_light_is_not_seen(lighter):
    rng = np.random.default_rng(0)
    smooth = np.add.outer(np.arange(40), np.arange(30))[..., None] + [60, 80, 100]
    picture = (smooth + rng.integers(0, 1, smooth.shape)).astype(np.uint8)
    picture[5:-5, 5:-5] += rng.integers(0, 9, (30, 20, 3), dtype=np.uint8)
    patch = (picture[1:-1, 1:-1].astype(int) + lighter).astype(np.uint8)
    blended = seamless(patch, around_of(picture)).astype(int)
    # Only the step from the patch's edge to the ring is not known: one level a pixel here.
    assert np.abs(blended - picture[1:-1, 1:-1]).max() <= 2


def test_a_plain_patch_takes_a_ramp():
    ramp = np.repeat((4 * np.arange(22))[None, :, None], 12, axis=0).repeat(3, axis=2)
    blended = seamless(np.full((10, 20, 3), 200, np.uint8), around_of(ramp.astype(np.uint8)))
    np.testing.assert_array_equal(blended, ramp[1:-1, 1:-1])


@given(sides, sides)
@quick
def test_feather_rises_from_the_nearest_edge(height, width):
    rows, columns = np.indices((height, width))
    share = feather(rows, columns, height, width)
    for row in range(height):
        for column in range(width):
            edges = (row + 0.5, height - row - 0.5, column + 0.5, width - column - 0.5)
            expected = min(1, min(edges) / (0.25 * min(height, width)))
            assert share[row, column] == pytest.approx(expected)
    assert share.max() == 1
