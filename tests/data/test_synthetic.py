"""Synthetic defects: deterministic, with exact masks, of every kind, and not pasted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppcls_sspcab.data.synthetic import KINDS, apply_defect, draw_defect, synthetic_validation


def textured(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 200, (height, width, 3), dtype=np.uint8)


@given(st.sampled_from(KINDS), st.integers(0, 2**32), st.integers(24, 90), st.integers(24, 90))
@settings(max_examples=80, deadline=None)
def test_mask_is_what_changed_and_replay_is_exact(kind, seed, height, width):
    image = textured(seed, height, width)
    before = image.copy()
    defect = draw_defect(np.random.default_rng(seed), kind)
    assert defect == draw_defect(np.random.default_rng(seed), kind)
    result, mask = apply_defect(image, defect)
    np.testing.assert_array_equal(image, before)
    assert (result.shape, result.dtype) == (image.shape, np.uint8)
    assert (mask.shape, mask.dtype) == ((height, width), bool)
    np.testing.assert_array_equal((result != image).any(axis=2), mask)
    assert 0 < mask.sum() < 0.3 * mask.size
    again, _ = apply_defect(image, defect)
    np.testing.assert_array_equal(again, result)


@given(st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_a_defect_lies_at_its_middle_whatever_the_shape(seed):
    defect = draw_defect(np.random.default_rng(seed), "blob")
    for height, width in ((128, 128), (64, 192), (200, 100)):
        _, mask = apply_defect(np.full((height, width, 3), 128, np.uint8), defect)
        assert mask[int(defect.row * height), int(defect.column * width)]
        rows, columns = np.nonzero(mask)
        reach = 2 * defect.size * min(height, width) + 2
        assert np.abs(rows - defect.row * height).max() <= reach
        assert np.abs(columns - defect.column * width).max() <= reach


def test_line_is_thin_and_long():
    defect = draw_defect(np.random.default_rng(1), "line")
    _, mask = apply_defect(textured(1, 256, 256), defect)
    rows, columns = np.nonzero(mask)
    length = np.hypot(np.ptp(rows), np.ptp(columns))
    assert length > 50
    assert mask.sum() / length < 8


def test_blur_takes_contrast_and_shift_moves_colour():
    image = textured(2, 96, 96)
    result, mask = apply_defect(image, draw_defect(np.random.default_rng(2), "blur"))
    assert result[mask].std() < 0.5 * image[mask].std()
    defect = draw_defect(np.random.default_rng(2), "color_shift")
    flat = np.full((96, 96, 3), 128, np.uint8)
    result, mask = apply_defect(flat, defect)
    np.testing.assert_allclose(result[mask] - 128.0, [defect.color] * mask.sum(), atol=0.5)


def test_missing_takes_the_colour_around():
    image = np.full((64, 64, 3), 90, np.uint8)
    defect = draw_defect(np.random.default_rng(0), "missing")
    image[int(defect.row * 64), int(defect.column * 64)] = 255
    result, mask = apply_defect(image, defect)
    assert mask.sum() == 1
    np.testing.assert_array_equal(result, np.full((64, 64, 3), 90, np.uint8))


def test_validation_set():
    images = np.stack([textured(seed, 48, 64) for seed in range(12)])
    pictures, labels, kinds, masks = synthetic_validation(images, 5)
    assert pictures.shape == (24, 48, 64, 3) and pictures.dtype == np.uint8
    assert labels.tolist() == [0] * 12 + [1] * 12
    assert kinds[:12] == ["good"] * 12 and set(kinds[12:]) == set(KINDS)
    np.testing.assert_array_equal(pictures[:12], images)
    assert not masks[:12].any() and masks[12:].any(axis=(1, 2)).all()
    np.testing.assert_array_equal((pictures[12:] != images).any(axis=3), masks[12:])
    for first, second in zip(
        synthetic_validation(images, 5), (pictures, labels, kinds, masks), strict=True
    ):
        np.testing.assert_array_equal(first, second)
    assert (synthetic_validation(images, 6)[0] != pictures).any()
    # A picture's defect does not depend on the pictures after it.
    np.testing.assert_array_equal(synthetic_validation(images[:3], 5)[0][3:], pictures[12:15])


@pytest.mark.parametrize("level", [0, 20, 128, 255])
def test_plain_pictures_get_defects_that_show(level):
    images = np.full((10, 40, 40, 3), level, np.uint8)
    pictures, _, kinds, masks = synthetic_validation(images, 0)
    change = np.abs(pictures[10:].astype(int) - images).max(axis=(1, 2, 3))
    assert change.min() >= 12
    assert {"blob", "line"} <= set(kinds[10:]) and "blur" not in kinds[10:]
    assert masks[10:].any(axis=(1, 2)).all()
