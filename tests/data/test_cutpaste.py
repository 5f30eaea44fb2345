"""CutPaste: what the paper says of its patches, for pictures of any shape."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from ppcls_sspcab.data.transforms.color_jitter import recolor
from ppcls_sspcab.data.transforms.cutpaste import CutPaste
from ppcls_sspcab.data.transforms.paste import Paste, inverse_map, rotated_box
from ppcls_sspcab.registry import TRANSFORMS

VARIANTS = ["normal", "scar", "union", "3way"]
seeds = st.integers(0, 2**32)
sides = st.integers(8, 160)
quick = settings(max_examples=60, deadline=None)


def drawn(variant: str, seed: int, height: int, width: int, **ranges):
    transform = CutPaste(variant, **ranges)
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return transform, image, transform.draw(rng, height, width)


def region(paste: Paste, shape: tuple[int, int]) -> np.ndarray:
    """The pixels that a paste covers, as bool [height, width] of a picture of ``shape``."""
    mask = np.zeros(shape, bool)
    inside = inverse_map(paste)[2]
    height, width = inside.shape
    mask[paste.target_top :, paste.target_left :][:height, :width] = inside
    return mask


@given(st.sampled_from(VARIANTS), seeds, sides, sides)
@quick
def test_nothing_changes_outside_the_pasted_region(variant, seed, height, width):
    transform, image, parameters = drawn(variant, seed, height, width)
    before = image.copy()
    views = transform.apply(image, parameters)
    assert views.shape == (len(transform.labels), height, width, 3) and views.dtype == np.uint8
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(views[0], before)
    for view, paste in zip(views[1:], parameters, strict=True):
        mask = region(paste, (height, width))
        np.testing.assert_array_equal(view[~mask], before[~mask])


@given(st.sampled_from(VARIANTS), seeds, sides, sides)
@quick
def test_cut_and_paste_lie_inside_the_picture(variant, seed, height, width):
    _, _, parameters = drawn(variant, seed, height, width)
    for paste in parameters:
        box = rotated_box(paste.height, paste.width, paste.angle)
        assert 0 <= paste.top <= height - paste.height
        assert 0 <= paste.left <= width - paste.width
        assert 0 <= paste.target_top <= height - box[0]
        assert 0 <= paste.target_left <= width - box[1]


@given(st.sampled_from(VARIANTS), seeds, sides, sides)
@quick
def test_replay_is_exact(variant, seed, height, width):
    first, second = drawn(variant, seed, height, width), drawn(variant, seed, height, width)
    assert first[2] == second[2]
    np.testing.assert_array_equal(first[0].apply(*first[1:]), second[0].apply(*second[1:]))


@given(seeds, st.integers(64, 200), st.integers(64, 200))
@quick
def test_normal_has_the_papers_area_and_aspect(seed, height, width):
    paste = drawn("normal", seed, height, width)[2][0]
    h, w = paste.height, paste.width
    # Whole pixels: each side may be half a pixel off.
    largest, smallest = (h + 0.5) * (w + 0.5), (h - 0.5) * (w - 0.5)
    assert largest >= 0.02 * height * width and smallest <= 0.15 * height * width
    assert (h + 0.5) / (w - 0.5) >= 0.3 and (h - 0.5) / (w + 0.5) <= 1 / 0.3
    assert (paste.kind, paste.angle) == ("normal", 0.0)
    assert (paste.top, paste.left) != (paste.target_top, paste.target_left)


def test_normal_area_is_uniform_and_aspect_log_uniform():
    transform, rng = CutPaste("normal"), np.random.default_rng(0)
    pastes = [transform.draw(rng, 512, 512)[0] for _ in range(2000)]
    area = np.array([p.height * p.width for p in pastes]) / 512**2
    aspect = np.log([p.height / p.width for p in pastes])
    quarters = [0.25, 0.5, 0.75]
    np.testing.assert_allclose(np.quantile(area, quarters), [0.0525, 0.085, 0.1175], atol=0.005)
    span = math.log(1 / 0.3)
    np.testing.assert_allclose(np.quantile(aspect, quarters), [-span / 2, 0, span / 2], atol=0.1)


@pytest.mark.parametrize("shape", [(8, 320), (320, 8), (16, 640)])
@pytest.mark.parametrize("seed", range(10))
def test_normal_in_a_very_long_picture_keeps_its_area(shape, seed):
    paste = drawn("normal", seed, *shape)[2][0]
    assert 0.015 <= paste.height * paste.width / (shape[0] * shape[1]) <= 0.16


@given(seeds, st.sampled_from([(256, 256), (256, 400), (512, 512), (128, 200), (64, 64), (8, 9)]))
@quick
def test_scar_has_the_papers_size_and_rotation(seed, shape):
    paste = drawn("scar", seed, *shape)[2][0]
    scale = min(shape) / 256
    assert max(2, 2 * scale - 0.5) <= paste.width <= max(2, 16 * scale + 0.5)
    assert max(2, 10 * scale - 0.5) <= paste.height <= max(2, 25 * scale + 0.5)
    assert -45 <= paste.angle <= 45


@given(seeds, st.integers(64, 300), st.integers(64, 300))
@quick
def test_scars_region_follows_its_rotation(seed, height, width):
    ranges = {"scar_width": (8, 16), "scar_length": (40, 80)}
    paste = drawn("scar", seed, height, width, **ranges)[2][0]
    mask = region(paste, (height, width))
    assert abs(mask.sum() - paste.height * paste.width) <= 2 * (paste.height + paste.width)
    rows, columns = np.nonzero(mask)
    assume(paste.height >= 2 * paste.width)
    axis = np.linalg.eigh(np.cov(columns, -rows))[1][:, 1]
    # The strip stands upright at 0 degrees and leans to the left, counter-clockwise, for more.
    seen = math.degrees(math.atan2(axis[1], axis[0])) - 90
    assert abs((seen - paste.angle + 90) % 180 - 90) < 8


@given(seeds, st.floats(-90, 90))
@quick
def test_rotated_patch_is_what_pillow_rotates(seed, angle):
    """Pillow rotates the same smooth patch about the same middle, by its own code."""
    box = rotated_box(41, 21, angle)
    assume(box[0] % 2 and box[1] % 2)  # Pillow turns about the middle of the canvas
    transform, _, parameters = drawn("scar", seed, 128, 128)
    paste = replace(parameters[0], top=20, left=30, height=41, width=21, angle=angle)
    paste = replace(paste, target_top=40, target_left=40)
    ramp = np.add.outer(np.arange(128) * 1.2, np.arange(128) * 0.7)
    image = np.stack([ramp, 255 - ramp, ramp / 2], -1).clip(0, 255).astype(np.uint8)
    view = transform.apply(image, (paste,))[1]
    patch = Image.fromarray(recolor(np.ascontiguousarray(image[20:61, 30:51]), paste.color))
    canvas = Image.new("RGB", (box[1] + 40, box[0] + 40))
    canvas.paste(patch, ((canvas.width - 21) // 2, (canvas.height - 41) // 2))
    turned = np.asarray(canvas.rotate(angle, Image.Resampling.BILINEAR)).astype(int)
    turned = turned[20:-20, 20:-20]
    inside = region(paste, (128, 128))[40 : 40 + box[0], 40 : 40 + box[1]]
    bordered = Image.fromarray(np.pad(inside, 3)).convert("L")
    core = np.asarray(bordered.filter(ImageFilter.MinFilter(5)))[3:-3, 3:-3] > 0
    ours = view[40 : 40 + box[0], 40 : 40 + box[1]].astype(int)
    assert np.abs(ours - turned)[core].max() <= 2


def test_pasted_normal_patch_is_the_recoloured_cut():
    transform, image, parameters = drawn("normal", 3, 64, 90)
    paste = parameters[0]
    cut = image[paste.top : paste.top + paste.height, paste.left : paste.left + paste.width]
    view = transform.apply(image, parameters)[1]
    pasted = view[
        paste.target_top : paste.target_top + paste.height,
        paste.target_left : paste.target_left + paste.width,
    ]
    np.testing.assert_array_equal(pasted, recolor(np.ascontiguousarray(cut), paste.color))
    assert region(paste, (64, 90)).sum() == cut.shape[0] * cut.shape[1]


@pytest.mark.parametrize("variant, labels", [("normal", [0, 1]), ("3way", [0, 1, 2])])
def test_labels(variant, labels):
    transform = TRANSFORMS.build({"name": "CutPaste", "variant": variant}, "transform_ops.0")
    assert transform.labels == labels and transform.class_num == len(labels)


def test_variants_draw_their_kinds():
    kinds = {
        variant: {tuple(p.kind for p in drawn(variant, seed, 32, 32)[2]) for seed in range(30)}
        for variant in VARIANTS
    }
    assert kinds == {
        "normal": {("normal",)},
        "scar": {("scar",)},
        "union": {("normal",), ("scar",)},
        "3way": {("normal", "scar")},
    }


def test_values_out_of_range():
    with pytest.raises(ValueError, match="variant"):
        CutPaste("4way")
    with pytest.raises(ValueError, match="area_ratio"):
        CutPaste(area_ratio=(0.15, 0.02))
    with pytest.raises(ValueError, match="scar_length"):
        CutPaste(scar_length=(10, 300))
    with pytest.raises(ValueError, match="8 px"):
        CutPaste().draw(np.random.default_rng(0), 7, 100)


def test_lengths_are_pixels_of_the_reference_size():
    rng = np.random.default_rng(0)
    sides = [
        (paste.width, paste.height)
        for paste in (CutPaste("scar", reference_size=64).draw(rng, 64, 64)[0] for _ in range(300))
    ]
    widths, lengths = zip(*sides, strict=True)
    assert (min(widths), max(widths)) == (2, 16)
    assert (min(lengths), max(lengths)) == (10, 25)
    with pytest.raises(ValueError, match="reference_size"):
        CutPaste(reference_size=4)
