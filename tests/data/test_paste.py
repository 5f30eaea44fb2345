"""Pastes of another picture, blended, on the part."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppcls_sspcab.data.blending import feather
from ppcls_sspcab.data.detail import Spot, detail_of, draw_spot, place_of
from ppcls_sspcab.data.transforms.cutpaste import CutPaste
from ppcls_sspcab.data.transforms.paste import inverse_map, on_part, rotated_box
from ppcls_sspcab.errors import DataError

BLENDS = ["hard", "feather", "poisson"]
VARIANTS = ["normal", "scar", "union", "3way"]
seeds = st.integers(0, 2**32)
sides = st.integers(8, 96)
quick = settings(max_examples=40, deadline=None)


def pictures(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.random.default_rng(seed).integers(0, 256, (2, height, width, 3), np.uint8)
    return first, second


def part_on_plain_ground() -> np.ndarray:
    image = np.full((120, 160, 3), 90, np.uint8)
    image[70:90, 100:130] = np.random.default_rng(3).integers(0, 256, (20, 30, 3))
    return image


@given(st.sampled_from(VARIANTS), st.sampled_from(BLENDS), st.booleans(), seeds, sides, sides)
@quick
def test_replay_is_exact_and_changes_the_region_alone(
    variant, blend, is_on_part, seed, height, width
):
    transform = CutPaste(variant, source="other", blend=blend, on_part=is_on_part)
    image, other = pictures(seed, height, width)
    before = image.copy(), other.copy()
    drawn = [transform.draw(np.random.default_rng(seed), height, width) for _ in range(2)]
    assert drawn[0] == drawn[1]
    views = transform.apply(image, drawn[0], other)
    np.testing.assert_array_equal(views, transform.apply(image, drawn[1], other))
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(other, before[1])
    np.testing.assert_array_equal(views[0], image)
    for view, paste in zip(views[1:], drawn[0], strict=True):
        placed = on_part(paste, detail_of(other), detail_of(image))
        assert (placed == paste) or is_on_part
        box = rotated_box(placed.height, placed.width, placed.angle)
        assert 0 <= placed.top <= height - placed.height
        assert 0 <= placed.left <= width - placed.width
        assert 0 <= placed.target_top <= height - box[0]
        assert 0 <= placed.target_left <= width - box[1]
        outside = np.ones((height, width), bool)
        inside = inverse_map(placed)[2]
        outside[placed.target_top :, placed.target_left :][: box[0], : box[1]] = ~inside
        np.testing.assert_array_equal(view[outside], image[outside])


@pytest.mark.parametrize("variant", VARIANTS)
def test_new_options_leave_the_papers_draws_alone(variant):
    plain = CutPaste(variant).draw(np.random.default_rng(5), 64, 80)
    other = CutPaste(variant, source="other", blend="poisson").draw(
        np.random.default_rng(5), 64, 80
    )
    assert plain == other
    assert all(paste.spots is None for paste in plain)


def test_a_patch_is_cut_from_the_other_picture():
    image, other = np.zeros((64, 64, 3), np.uint8), pictures(0, 64, 64)[1]
    transform = CutPaste("normal", jitter=0, source="other")
    (paste,) = parameters = transform.draw(np.random.default_rng(1), 64, 64)
    view = transform.apply(image, parameters, other)[1]
    pasted = view[paste.target_top :, paste.target_left :][: paste.height, : paste.width]
    cut = other[paste.top :, paste.left :][: paste.height, : paste.width]
    np.testing.assert_array_equal(pasted, cut)
    assert transform.wants_other and not CutPaste().wants_other


@pytest.mark.parametrize("angle", [-37.0, 0.0, 20.0])
def test_feather_mixes_the_hard_paste_by_its_share(angle):
    image, other = pictures(2, 90, 90)
    drawn = CutPaste("scar", jitter=0).draw(np.random.default_rng(2), 90, 90)[0]
    paste = replace(drawn, height=31, width=14, top=5, left=8, target_top=20, target_left=30)
    paste = replace(paste, angle=angle)
    hard, soft = (
        CutPaste("scar", blend=blend).apply(image, (paste,), other)[1].astype(float)
        for blend in ("hard", "feather")
    )
    rows, columns, inside = inverse_map(paste)
    share = np.zeros((90, 90, 1))
    share[20:, 30:][: inside.shape[0], : inside.shape[1], 0] = inside * feather(
        rows, columns, 31, 14
    )
    assert np.abs(soft - (share * hard + (1 - share) * image)).max() <= 1.01


@pytest.mark.parametrize("angle", [-37.0, 0.0, 20.0, 90.0])
def test_poisson_hides_a_patch_that_differs_in_light_alone(angle):
    """On a ramp a darker plain patch cannot be seen; pasted hard it stands out."""
    ramp = np.add.outer(np.arange(90.0), 0.5 * np.arange(90))[..., None].repeat(3, 2) + 60
    image, other = ramp.astype(np.uint8), np.full((90, 90, 3), 20, np.uint8)
    drawn = CutPaste("scar").draw(np.random.default_rng(2), 90, 90)[0]
    paste = replace(drawn, height=31, width=14, top=5, left=8, target_top=20, target_left=30)
    paste = replace(paste, angle=angle)
    hard, blended = (
        CutPaste("scar", blend=blend).apply(image, (paste,), other)[1].astype(int)
        for blend in ("hard", "poisson")
    )
    assert np.abs(hard - image).max() > 60
    assert np.abs(blended - image).max() <= 2


def test_poisson_at_the_pictures_border():
    image, other = pictures(4, 40, 40)
    transform = CutPaste("normal", blend="poisson", source="other")
    (drawn,) = transform.draw(np.random.default_rng(0), 40, 40)
    for corner in ((0, 0), (0, 30), (30, 0), (30, 30)):
        paste = replace(drawn, height=10, width=10, top=1, left=2)
        paste = replace(paste, target_top=corner[0], target_left=corner[1])
        assert transform.apply(image, (paste,), other).shape == (2, 40, 40, 3)


def test_on_part_cuts_and_pastes_where_the_detail_is():
    image = part_on_plain_ground()
    other = np.roll(image, (-50, -70), (0, 1))
    source, target = detail_of(other), detail_of(image)
    transform = CutPaste("normal", area_ratio=(0.003, 0.01), on_part=True)
    rng = np.random.default_rng(0)
    placed = [
        on_part(paste, source, target)
        for _ in range(300)
        for paste in transform.draw(rng, *image.shape[:2])
    ]
    cuts = np.array([(p.top + p.height / 2, p.left + p.width / 2) for p in placed])
    goals = np.array([(p.target_top + p.height / 2, p.target_left + p.width / 2) for p in placed])
    assert np.mean((np.abs(cuts - [30, 45]) < [22, 27]).all(axis=1)) > 0.9
    assert np.mean((np.abs(goals - [80, 115]) < [22, 27]).all(axis=1)) > 0.9


def test_on_part_falls_back_to_what_was_drawn():
    transform = CutPaste("normal", on_part=True)
    (paste,) = transform.draw(np.random.default_rng(0), 50, 60)
    plain, detailed = np.zeros((50, 60)), np.ones((50, 60))
    assert on_part(paste, plain, detailed) == paste == on_part(paste, detailed, plain)
    same_place = replace(paste, spots=(paste.spots[0], paste.spots[0]))
    assert on_part(same_place, detailed, detailed) == same_place


def test_a_spots_share_counts_the_detail_before_it():
    detail = np.random.default_rng(0).random((7, 11)) * (np.arange(77).reshape(7, 11) % 3 > 0)
    sums = np.cumsum(detail)
    for share in np.linspace(0, 1, 50, endpoint=False):
        row, column = divmod(int(np.searchsorted(sums, share * sums[-1], "right")), 11)
        found = place_of(Spot(float(share), 0.0, 0.0), detail)
        assert found == pytest.approx(((row + 0.5) / 7, (column + 0.5) / 11))
    spots = [draw_spot(np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert spots[0] == spots[1] != spots[2]


def test_pictures_of_two_sizes_are_refused():
    transform = CutPaste("normal", source="other")
    parameters = transform.draw(np.random.default_rng(0), 20, 20)
    with pytest.raises(DataError, match=r"of one size, not \(20, 20\) and \(20, 30\)"):
        transform.apply(pictures(0, 20, 20)[0], parameters, pictures(0, 20, 30)[1])


@pytest.mark.parametrize("wrong", [{"source": "both"}, {"blend": "soft"}])
def test_unknown_words(wrong):
    with pytest.raises(ValueError, match=r"must be \w+ or \w+.*, not"):
        CutPaste(**wrong)
