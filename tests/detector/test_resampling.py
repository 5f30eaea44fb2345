"""The upsampling matrices against scipy's interpolation and blur."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from ppcls_sspcab.detector.resampling import receptive_field_matrix, upsampling_matrix


@pytest.mark.parametrize(("pixels", "cells"), [(32, 8), (48, 6), (30, 7), (16, 16)])
def test_without_blur_it_is_pillows_bilinear_resize(pixels: int, cells: int) -> None:
    values = np.random.default_rng(0).random((1, cells)).astype(np.float32)
    resized = Image.fromarray(values).resize((pixels, 1), Image.Resampling.BILINEAR)
    found = upsampling_matrix(pixels, cells, 0.0) @ values[0]
    np.testing.assert_allclose(found, np.asarray(resized)[0], atol=1e-5)


def test_the_blur_is_a_gaussian_away_from_the_edges() -> None:
    values = np.random.default_rng(0).random(16)
    sharp = upsampling_matrix(128, 16, 0.0) @ values
    expected = gaussian_filter1d(sharp, 3.0, truncate=8.0)
    np.testing.assert_allclose(
        (upsampling_matrix(128, 16, 3.0) @ values)[20:-20], expected[20:-20], atol=1e-5
    )


@pytest.mark.parametrize("deviation", [0.0, 0.5, 9.0])
def test_a_flat_map_stays_flat_up_to_the_edges(deviation: float) -> None:
    matrix = upsampling_matrix(37, 5, deviation)
    assert (matrix >= 0).all()
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-6)


def test_a_pixel_is_the_gaussian_mean_of_the_patches_around_it() -> None:
    matrix = receptive_field_matrix(40, 5, 3.0, size=20, stride=5)
    middles = np.array([9.5, 14.5, 19.5, 24.5, 29.5])
    for pixel in (0, 17, 39):
        weights = np.exp(-((pixel - middles) ** 2) / 18)
        np.testing.assert_allclose(matrix[pixel], weights / weights.sum(), rtol=1e-5)
    np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-6)


@pytest.mark.parametrize("deviation", [0.0, 0.1, 8.0])
def test_borders_far_from_every_patch_are_as_loud_as_the_nearest_one(deviation: float) -> None:
    matrix = receptive_field_matrix(256, 49, deviation, size=64, stride=4)
    assert np.isfinite(matrix).all()
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    assert matrix[0, 0] > 0.4
