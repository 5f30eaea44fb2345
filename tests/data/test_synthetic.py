"""Synthetic defects: deterministic, with exact masks, of every kind, and not pasted."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppcls_sspcab.data.detail import detail_of
from ppcls_sspcab.data.synthetic import (
    KINDS,
    SyntheticDefect,
    apply_defect,
    draw_defect,
    synthetic_validation,
)


def strong(kind: str, seed: int) -> SyntheticDefect:
    return replace(draw_defect(np.random.default_rng(seed), kind), size=0.1, strength=1.0)


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
    defect = replace(draw_defect(np.random.default_rng(1), "line"), size=0.2)
    _, mask = apply_defect(textured(1, 256, 256), defect)
    rows, columns = np.nonzero(mask)
    length = np.hypot(np.ptp(rows), np.ptp(columns))
    assert length > 50
    assert mask.sum() / length < 8


def test_blur_takes_contrast_and_shift_moves_colour():
    image = textured(2, 96, 96)
    result, mask = apply_defect(image, strong("blur", 2))
    assert result[mask].std() < 0.5 * image[mask].std()
    defect = strong("color_shift", 2)
    flat = np.full((96, 96, 3), 128, np.uint8)
    flat[0, 0, 0] = 0  # not a grey picture
    result, mask = apply_defect(flat, defect)
    np.testing.assert_allclose(result[mask] - 128.0, [defect.color] * mask.sum(), atol=0.5)


def test_strength_mixes_the_defect_with_the_picture():
    image = textured(4, 64, 64)
    whole, mask = apply_defect(image, strong("blob", 4))
    half, _ = apply_defect(image, replace(strong("blob", 4), strength=0.5))
    between = (image[mask].astype(float) + whole[mask]) / 2
    np.testing.assert_allclose(half[mask], between, atol=1)


def test_sizes_and_strengths_range_from_hardly_seen_to_plain():
    rng = np.random.default_rng(0)
    drawn = [draw_defect(rng, "blob") for _ in range(400)]
    sizes, strengths = [d.size for d in drawn], [d.strength for d in drawn]
    assert min(sizes) < 0.017 and max(sizes) > 0.12
    assert min(strengths) < 0.22 and max(strengths) > 0.95
    # Log-uniform: as many below the geometric mean as above.
    assert 0.4 < np.mean(np.array(sizes) < np.sqrt(0.015 * 0.13)) < 0.6


def test_defects_lie_on_the_part():
    image = np.full((100, 200, 3), 128, np.uint8)
    image[40:50, 120:140] = textured(3, 10, 20)
    detail = detail_of(image)
    assert detail.shape == (100, 200)
    assert (detail[:38] == 0).all() and detail[42:48, 122:138].mean() > 100
    rng = np.random.default_rng(0)
    drawn = [draw_defect(rng, "blob", detail) for _ in range(500)]
    rows, columns = np.array([(d.row * 100, d.column * 200) for d in drawn]).T
    assert np.mean((np.abs(rows - 45) < 15) & (np.abs(columns - 130) < 20)) > 0.9
    assert np.std(rows) > 3 and np.std(columns) > 5


@pytest.mark.parametrize("detail", [None, np.zeros((60, 90)), detail_of(textured(7, 60, 90))])
def test_defects_lie_anywhere_on_a_texture_and_on_a_plain_ground(detail):
    rng = np.random.default_rng(0)
    drawn = [draw_defect(rng, "blob", detail) for _ in range(800)]
    rows, columns = [d.row for d in drawn], [d.column for d in drawn]
    counts, _, _ = np.histogram2d(rows, columns, bins=5, range=[(0, 1), (0, 1)])
    assert counts.sum() == 800
    assert counts.min() > 15  # the border and the corners, too


def test_detail_is_the_squared_gradient():
    ramp = np.repeat(np.arange(0, 200, 4, dtype=np.uint8)[None, :, None], 3, axis=2)
    np.testing.assert_allclose(detail_of(ramp.repeat(20, axis=0)), 16)


@pytest.mark.parametrize("kind", KINDS)
def test_a_grey_picture_stays_grey(kind):
    grey = textured(5, 64, 64)[..., :1].repeat(3, axis=2)
    result, mask = apply_defect(grey, strong(kind, 5))
    assert mask.any()
    assert (result == result[..., :1]).all()


def test_a_warp_moves_pixels_and_makes_no_new_ones():
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, ::4] = 200
    defect = replace(strong("warp", 6), row=0.5, column=0.5, angle=0.0, shape=(0.0,) * 12, size=0.2)
    result, mask = apply_defect(image, defect)
    assert set(np.unique(result)) == {0, 200}
    rows = np.nonzero(mask)[0]
    assert 4 <= np.abs(rows - 32).max() <= 14
    # At the middle it is pulled by half the size: 6 pixels to the right.
    np.testing.assert_array_equal(result[32, 32], image[32, 26])


def test_missing_takes_the_colour_around():
    image = np.full((64, 64, 3), 90, np.uint8)
    defect = replace(strong("missing", 0), size=0.01)
    image[int(defect.row * 64), int(defect.column * 64)] = 255
    result, mask = apply_defect(image, defect)
    assert mask.sum() == 1
    np.testing.assert_array_equal(result, np.full((64, 64, 3), 90, np.uint8))


def test_validation_set():
    images = np.stack([textured(seed, 48, 64) for seed in range(12)])
    pictures, labels, kinds, masks = synthetic_validation(images, 5)
    each = len(KINDS)
    assert pictures.shape == (12 + 12 * each, 48, 64, 3) and pictures.dtype == np.uint8
    assert labels.tolist() == [0] * 12 + [1] * 12 * each
    assert kinds[:12] == ["good"] * 12 and set(kinds[12:]) == set(KINDS)
    np.testing.assert_array_equal(pictures[:12], images)
    assert not masks[:12].any() and masks[12:].any(axis=(1, 2)).all()
    changed = (pictures[12:] != images.repeat(each, axis=0)).any(axis=3)
    np.testing.assert_array_equal(changed, masks[12:])
    for first, second in zip(
        synthetic_validation(images, 5), (pictures, labels, kinds, masks), strict=True
    ):
        np.testing.assert_array_equal(first, second)
    assert (synthetic_validation(images, 6)[0] != pictures).any()
    # A picture's defects do not depend on the pictures after it.
    some = synthetic_validation(images[:3], 5)[0][3:]
    np.testing.assert_array_equal(some, pictures[12 : 12 + 3 * each])


@pytest.mark.parametrize(("count", "each"), [(50, 4), (150, 2), (220, 1)])
def test_many_pictures_get_fewer_defects_each(count, each):
    images = np.random.default_rng(0).integers(60, 200, (count, 12, 12, 3), dtype=np.uint8)
    pictures, labels, _, _ = synthetic_validation(images, 0)
    assert len(pictures) == count + count * each
    assert labels.sum() == count * each


@pytest.mark.parametrize("level", [0, 20, 128, 255])
def test_plain_pictures_get_defects_that_show(level):
    images = np.full((10, 40, 40, 3), level, np.uint8)
    pictures, _, kinds, masks = synthetic_validation(images, 0)
    originals = images.repeat(len(KINDS), axis=0)
    change = np.abs(pictures[10:].astype(int) - originals).max(axis=(1, 2, 3))
    assert change.min() >= 12
    assert {"blob", "line"} <= set(kinds[10:])
    assert not {"blur", "warp"} & set(kinds[10:])
    assert masks[10:].any(axis=(1, 2)).all()
