"""Turns against numpy's and Pillow's, and what the good pictures say of their pose."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ppcls_sspcab.data.generated import render
from ppcls_sspcab.data.pose import ONE_POSE, pose_agreement
from ppcls_sspcab.data.transforms.random_turn import RandomTurn
from ppcls_sspcab.errors import DataError
from ppcls_sspcab.utils.logger import get_logger

SHARED = Path(__file__).resolve().parents[3] / "shared"

seeds = st.integers(0, 2**32)
sides = st.integers(8, 60)


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


@given(st.sampled_from(["any", "right", "none"]), seeds, sides)
@settings(max_examples=40, deadline=None)
def test_replay_is_exact(angles, seed, side):
    image = smooth(side, side, seed)
    transform = RandomTurn(angles)
    drawn = [transform.draw(np.random.default_rng(seed), side, side) for _ in range(2)]
    assert drawn[0] == drawn[1] and isinstance(drawn[0], float)
    first, second = (transform.apply(image, angle) for angle in drawn)
    np.testing.assert_array_equal(first, second)
    assert (first.shape, first.dtype) == (image.shape, np.uint8)


def test_what_is_drawn():
    rng = np.random.default_rng(0)
    drawn = {
        angles: [RandomTurn(angles).draw(rng, 9, 9) for _ in range(400)]
        for angles in ("any", "right", "none")
    }
    assert set(drawn["none"]) == {0.0}
    assert set(drawn["right"]) == {0.0, 90.0, 180.0, 270.0}
    np.testing.assert_allclose(np.quantile(drawn["any"], [0.25, 0.5, 0.75]), [-90, 0, 90], atol=20)


@pytest.mark.parametrize("quarter", range(4))
def test_right_angles_lose_nothing(quarter):
    image = smooth(31, 31)
    turned = RandomTurn("right").apply(image, 90.0 * quarter)
    np.testing.assert_array_equal(turned, np.rot90(image, quarter))


@given(seeds, st.floats(-180, 180), sides, sides)
@settings(max_examples=40, deadline=None)
def test_any_angle_is_pillows_rotation_of_the_mirrored_picture(seed, angle, height, width):
    image = smooth(height, width, seed)
    down, right = 2 * max(height, width), 2 * max(height, width)
    mirrored = np.pad(image, ((down, down), (right, right), (0, 0)), "reflect")
    expected = Image.fromarray(mirrored).rotate(angle, Image.Resampling.BILINEAR)
    expected = np.asarray(expected)[down : down + height, right : right + width].astype(int)
    turned = RandomTurn("any").apply(image, angle)
    assert np.abs(turned - expected).max() <= 2


def test_what_cannot_be_turned():
    with pytest.raises(DataError, match="square pictures, not 20x30"):
        RandomTurn("right").draw(np.random.default_rng(0), 20, 30)
    with pytest.raises(ValueError, match="auto or any or right or none"):
        RandomTurn("left")
    with pytest.raises(ValueError, match="must see good pictures"):
        RandomTurn("auto").draw(np.random.default_rng(0), 20, 20)


def generated(part: str, count: int = 16) -> list[np.ndarray]:
    return [render(part, None, (0, index), 64)[0] for index in range(count)]


def turned(images: list[np.ndarray]) -> list[np.ndarray]:
    rng, transform = np.random.default_rng(1), RandomTurn("any")
    return [transform.apply(image, float(rng.uniform(-180, 180))) for image in images]


@pytest.mark.parametrize("part, decided", [("screw", "any"), ("gasket", "none"), ("mesh", "none")])
def test_auto_sees_whether_the_generated_part_lies_anyhow(part, decided, caplog):
    transform = RandomTurn("auto")
    logger = get_logger()
    logger.addHandler(caplog.handler)
    try:
        transform.prepare(generated(part))
    finally:
        logger.removeHandler(caplog.handler)
    (record,) = caplog.records
    assert f"RandomTurn: angles {decided}" in record.getMessage()
    drawn = [transform.draw(np.random.default_rng(seed), 64, 64) for seed in range(20)]
    assert (len(set(drawn)) > 1) == (decided == "any")


@pytest.mark.parametrize("part", ["gasket", "mesh"])
def test_a_part_in_one_pose_is_seen_to_be_turned(part):
    images = generated(part)
    assert pose_agreement(images) > ONE_POSE > pose_agreement(turned(images))


def test_moving_and_light_are_no_pose():
    rng = np.random.default_rng(0)
    images = [
        np.roll(image * rng.uniform(0.7, 1), rng.integers(-8, 9, 2), (0, 1)).astype(np.uint8)
        for image in generated("mesh")
    ]
    assert pose_agreement(images) > ONE_POSE


def test_few_pictures_and_plain_ones_have_one_pose():
    plain = np.full((40, 60, 3), 7, np.uint8)
    assert pose_agreement([plain] * 5) == 1
    assert pose_agreement(generated("screw", 1)) == 1
    assert pose_agreement([generated("screw", 1)[0]] * 3) == pytest.approx(1)


@pytest.mark.parametrize(
    "folder, decided",
    [
        ("mvtec_bottle_256/bottle", "none"),
        ("mvtec_grid_256/grid", "any"),
        ("mvtec3d_tire_256/tire", "none"),
    ],
)
def test_auto_on_real_categories(folder, decided):
    paths = sorted((SHARED / "data" / folder / "train" / "good").glob("*.png"))
    if not paths:
        pytest.skip(f"shared/data/{folder} is not here")
    images = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    assert (pose_agreement(images) < ONE_POSE) == (decided == "any")
    assert pose_agreement(turned(images)) < ONE_POSE


def test_a_texture_is_not_turned_by_itself():
    transform = RandomTurn("auto")
    transform.prepare(turned(generated("mesh")))
    assert {transform.draw(np.random.default_rng(seed), 64, 64) for seed in range(20)} == {0.0}
