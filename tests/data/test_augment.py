"""Augmentations against plain references."""

import colorsys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppcls_sspcab.data.transforms.color_jitter import LUMA, Color, ColorJitter
from ppcls_sspcab.data.transforms.color_jitter import recolor as apply_color
from ppcls_sspcab.data.transforms.random_crop import RandomCrop
from ppcls_sspcab.data.transforms.random_translation import RandomTranslation
from ppcls_sspcab.errors import DataError

seeds = st.integers(0, 2**32)
sides = st.integers(8, 40)


def picture(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(seeds, sides, sides, st.floats(0, 0.5))
@settings(max_examples=50, deadline=None)
def test_translation_is_a_shift_with_mirrored_border(seed, height, width, fraction):
    image = picture(seed, height, width)
    transform = RandomTranslation(fraction)
    parameters = transform.draw(np.random.default_rng(seed), height, width)
    assert abs(parameters[0]) <= fraction * height
    assert abs(parameters[1]) <= fraction * width
    padded = np.pad(image, ((height - 1,) * 2, (width - 1,) * 2, (0, 0)), mode="reflect")
    top, left = height - 1 - parameters[0], width - 1 - parameters[1]
    np.testing.assert_array_equal(
        transform.apply(image, parameters), padded[top : top + height, left : left + width]
    )


def test_translation_moves_down_and_right():
    image = picture(0, 9, 12)
    moved = RandomTranslation().apply(image, (2, 3))
    np.testing.assert_array_equal(moved[2:, 3:], image[:-2, :-3])


@given(seeds, sides, sides)
@settings(max_examples=50, deadline=None)
def test_color_is_brightness_then_contrast_then_saturation_then_hue(seed, height, width):
    image = picture(seed, height, width)
    color = ColorJitter(0.5, 0.5, 0.5, 0.5).draw(np.random.default_rng(seed))
    pixels = image * color.brightness
    mean = (pixels @ LUMA).mean()
    pixels = mean + color.contrast * (pixels - mean)
    luma = (pixels @ LUMA)[..., None]
    pixels = luma + color.saturation * (pixels - luma)
    yiq = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    chroma = pixels @ yiq.T
    turned = (chroma[..., 1] + 1j * chroma[..., 2]) * np.exp(2j * np.pi * color.hue)
    pixels = np.stack([chroma[..., 0], turned.real, turned.imag], -1) @ np.linalg.inv(yiq).T
    difference = apply_color(image, color) - pixels.clip(0, 255)
    assert np.abs(difference).max() <= 0.5 + 1e-3


def test_color_that_changes_nothing():
    image = picture(1, 9, 12)
    np.testing.assert_array_equal(apply_color(image, Color(1, 1, 1, 0)), image)


def test_hue_turns_the_way_of_hsv():
    image = np.full((8, 8, 3), (160, 100, 100), np.uint8)
    turned = apply_color(image, Color(1, 1, 1, -1 / 3))[0, 0] / 255
    other = apply_color(image, Color(1, 1, 1, 1 / 3))[0, 0] / 255
    hues = sorted(colorsys.rgb_to_hsv(*rgb)[0] for rgb in (turned, other))
    np.testing.assert_allclose(hues, [1 / 3, 2 / 3], atol=0.07)


@given(seeds)
@settings(max_examples=50, deadline=None)
def test_color_draws_stay_in_range(seed):
    color = ColorJitter(0.1, 0.2, 0.3, 0.05).draw(np.random.default_rng(seed), 8, 8)
    assert abs(color.brightness - 1) <= 0.1
    assert abs(color.contrast - 1) <= 0.2
    assert abs(color.saturation - 1) <= 0.3
    assert abs(color.hue) <= 0.05


def test_values_out_of_range():
    with pytest.raises(ValueError, match="fraction"):
        RandomTranslation(0.6)
    with pytest.raises(ValueError, match="hue"):
        ColorJitter(hue=0.6)
    with pytest.raises(ValueError, match="contrast"):
        ColorJitter(contrast=-0.1)


def test_a_crop_is_a_slice_from_anywhere():
    image = picture(0, 9, 12)
    transform = RandomCrop([4, 10])
    rng = np.random.default_rng(0)
    places = set()
    for _ in range(200):
        top, left = transform.draw(rng, 9, 12)
        places.add((top, left))
        expected = image[top : top + 4, left : left + 10]
        assert expected.shape == (4, 10, 3)
        np.testing.assert_array_equal(transform.apply(image, (top, left)), expected)
    assert places == {(top, left) for top in range(6) for left in range(3)}


def test_crops_that_cannot_be_are_refused():
    assert RandomCrop(8).size == (8, 8)
    for size in (0, [8], [8, 0]):
        with pytest.raises(ValueError, match="size must be a side"):
            RandomCrop(size)
    with pytest.raises(DataError, match="16x16 does not fit into pictures of 12x40"):
        RandomCrop(16).draw(np.random.default_rng(0), 12, 40)
