"""Small changes of good pictures, against plain references."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.config.schema import ToleranceSection
from ppcls_sspcab.data.build import GoodPictures, build_transforms, within_tolerance
from ppcls_sspcab.data.samples import Sample
from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.data.tolerance import (
    BothVersions,
    Change,
    WithinTolerance,
    apply_change,
    changed_at_random,
)
from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.integrations.paddleclas.data import dataset_named

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
NOTHING = {"brightness": 0, "contrast": 0, "white_balance": 0, "shift": 0, "jpeg": None}
seeds = st.integers(0, 2**32)
sides = st.integers(8, 40)


def picture(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height: int = 64, width: int = 96) -> np.ndarray:
    small = Image.fromarray(picture(0, 6, 8))
    return np.array(small.resize((width, height), Image.Resampling.BICUBIC))


@given(seeds, sides, sides, st.floats(0.5, 1.5), st.floats(0.5, 1.5), st.floats(0.8, 1.2))
@settings(max_examples=50, deadline=None)
def test_light_is_brightness_and_balance_then_contrast_about_the_mean_luma(
    seed: int, height: int, width: int, brightness: float, contrast: float, red: float
) -> None:
    image = picture(seed, height, width)
    lit = image.astype(float) * brightness * np.array([red, 1, 2 - red])
    mean = (0.299 * lit[..., 0] + 0.587 * lit[..., 1] + 0.114 * lit[..., 2]).mean()
    expected = (mean + contrast * (lit - mean)).clip(0, 255)
    change = Change(brightness=brightness, contrast=contrast, red=red, blue=2 - red)
    assert np.abs(apply_change(image, change) - expected).max() <= 0.5 + 1e-6


@given(seeds, sides, sides, st.integers(-7, 7), st.integers(-7, 7))
@settings(max_examples=50, deadline=None)
def test_a_whole_shift_moves_down_and_right_and_mirrors_the_border(
    seed: int, height: int, width: int, down: int, right: int
) -> None:
    image = picture(seed, height, width)
    padded = np.pad(image, ((7, 7), (7, 7), (0, 0)), "reflect")
    expected = padded[7 - down : 7 - down + height, 7 - right : 7 - right + width]
    np.testing.assert_array_equal(apply_change(image, Change(down=down, right=right)), expected)


def test_a_turn_is_pillows_about_the_middle() -> None:
    image = smooth()
    for angle in (-4.0, 3.0):
        turned = apply_change(image, Change(angle=angle))
        expected = np.array(Image.fromarray(image).rotate(angle, Image.Resampling.BICUBIC))
        inside = slice(8, -8), slice(8, -8)
        assert np.abs(turned[inside].astype(int) - expected[inside]).max() <= 1
    quarter = apply_change(image[:, :64], Change(angle=90.0))
    assert np.abs(quarter.astype(int) - np.rot90(image[:, :64])).max() <= 1


def test_part_of_a_pixel_and_a_turn_come_from_one_resampling() -> None:
    image = smooth()
    half = apply_change(image, Change(right=0.5)).astype(float)
    between = (image[:, :-1].astype(float) + image[:, 1:]) / 2
    assert np.abs(half[:, 1:] - between)[:, 2:-2].max() <= 4
    moved = apply_change(image, Change(down=3.0, right=-2.0, angle=1e-9))
    whole = apply_change(image, Change(down=3.0, right=-2.0))
    assert np.abs(moved.astype(int) - whole).max() <= 1


def test_blur_and_jpeg_are_pillows() -> None:
    image = picture(1, 24, 40)
    blurred = np.array(Image.fromarray(image).filter(ImageFilter.GaussianBlur(1.5)))
    np.testing.assert_array_equal(apply_change(image, Change(blur=1.5)), blurred)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=60)
    compressed = np.array(Image.open(file))
    np.testing.assert_array_equal(apply_change(image, Change(quality=60)), compressed)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_a_grey_picture_stays_grey(seed: int) -> None:
    grey = picture(seed, 20, 20)[..., :1].repeat(3, axis=2)
    all_ends = WithinTolerance(ToleranceSection(white_balance=0.3, turn=5, blur=1.0))
    changed = all_ends.apply(grey, all_ends.draw(np.random.default_rng(seed), 20, 20))
    assert (changed == changed[..., :1]).all()
    only_balance = Change(red=1.2, blue=0.8)
    np.testing.assert_array_equal(apply_change(grey, only_balance), grey)


def test_a_change_that_is_none_leaves_every_pixel() -> None:
    image = picture(2, 16, 16)
    np.testing.assert_array_equal(apply_change(image, Change()), image)
    transform = WithinTolerance(ToleranceSection(**NOTHING))
    drawn = transform.draw(np.random.default_rng(0), 16, 16)
    assert drawn == Change()


@given(seeds, st.sampled_from([64, 128, 256, 512]))
@settings(max_examples=100, deadline=None)
def test_draws_lie_within_the_tolerance(seed: int, side: int) -> None:
    ends = ToleranceSection(turn=2.0, blur=1.0, jpeg=60, brightness=0.1)
    drawn = WithinTolerance(ends).draw(np.random.default_rng(seed), side, 2 * side)
    assert abs(drawn.brightness - 1) <= 0.1
    assert abs(drawn.contrast - 1) <= 0.05
    assert max(abs(drawn.red - 1), abs(drawn.blue - 1)) <= 0.02
    assert max(abs(drawn.down), abs(drawn.right)) <= 2 * side / 256
    assert abs(drawn.angle) <= 2
    assert 0 <= drawn.blur <= side / 256
    assert drawn.quality is not None
    assert 60 <= drawn.quality <= 100


def test_draws_reach_both_ends_and_shifts_are_whole_pixels() -> None:
    transform = WithinTolerance(ToleranceSection())
    rng = np.random.default_rng(0)
    drawn = [transform.draw(rng, 256, 256) for _ in range(1000)]
    assert {change.down for change in drawn} == {-2, -1, 0, 1, 2} == {c.right for c in drawn}
    assert {change.quality for change in drawn} == set(range(75, 101))
    for values in ([c.brightness for c in drawn], [c.contrast for c in drawn]):
        assert min(values) < 0.951
        assert max(values) > 1.049
    assert {transform.draw(rng, 64, 64).down for _ in range(100)} == {-1, 0, 1}


@pytest.fixture
def pictures(tmp_path: Path) -> ImageStore:
    samples = []
    for index in range(10):
        path = tmp_path / f"{index}.png"
        Image.fromarray(picture(index, 32, 32)).save(path)
        samples.append(Sample(str(path), 0, "good", None, "train"))
    return ImageStore(samples, Preprocess(image_size=(32, 32)), cache_bytes=1 << 20)


def test_copies_follow_from_seed_and_number(pictures: ImageStore) -> None:
    def read(seed: int, first_key: int = 0) -> np.ndarray:
        store = changed_at_random(pictures, ToleranceSection(), seed, first_key)
        assert len(store) == 10
        assert store.samples == pictures.samples
        return np.stack([store[index] for index in range(10)])

    np.testing.assert_array_equal(read(3), read(3))
    for other in (read(4), read(3, 100), np.stack([pictures[index] for index in range(10)])):
        assert all((one != another).any() for one, another in zip(read(3), other, strict=True))


def test_pictures_to_fit_to_come_as_they_are_and_changed(pictures: ImageStore) -> None:
    changed = changed_at_random(pictures, ToleranceSection(), 0, 0)
    store = BothVersions(pictures, changed)
    assert store.samples[::2] == store.samples[1::2] == pictures.samples
    order = []
    for index in range(10):
        both = [store[2 * index], store[2 * index + 1]]
        order.append((both[0] != pictures[index]).any())
        versions = (
            (changed[index], pictures[index]) if order[-1] else (pictures[index], changed[index])
        )
        np.testing.assert_array_equal(both, versions)
    assert sum(order) == 5


class Flat(ImageStore):
    """Pictures of one value."""

    def __init__(self, value: int, count: int) -> None:
        super().__init__([Sample("", 0, "good", None, "train")] * count, Preprocess((1, 1)), 0)
        self.value = value

    def __getitem__(self, index: int) -> np.ndarray:
        return np.full((1, 1, 3), self.value, np.uint8)


@pytest.mark.parametrize("step", range(1, 20))
def test_of_every_nth_picture_half_are_changed(step: int) -> None:
    store = BothVersions(Flat(0, 500), Flat(1, 500))
    assert 1 / 3 < np.mean([store[index] for index in range(0, 1000, step)]) < 2 / 3


def test_pictures_are_changed_only_under_a_tolerance(pictures: ImageStore) -> None:
    config = load_config(CONFIGS / "demo.yaml", {"Tolerance": None})
    good = GoodPictures(pictures, pictures)
    assert within_tolerance(good, config) is good
    plain, _ = build_transforms(config)
    config = load_config(CONFIGS / "demo.yaml", {"Tolerance": {"blur": 1.0}})
    tolerant = within_tolerance(good, config)
    assert len(tolerant.train) == 20
    assert tolerant.held_out is not None
    assert len(tolerant.held_out) == 10
    assert within_tolerance(GoodPictures(pictures, None), config).held_out is None
    first, *others = build_transforms(config)[0]
    assert first.tolerance == config.Tolerance
    assert [type(one) for one in others] == [type(one) for one in plain]


def test_paddleclass_dataset_changes_what_it_trains_on(demo_root: Path) -> None:
    given = {
        "data_root": str(demo_root),
        "category": "gasket",
        "preprocess": {"image_size": [32, 32]},
        "transform_ops": [{"CutPaste": {"variant": "3way"}}],
    }
    dataset = dataset_named("MVTecDataset")
    strong = {"brightness": 0.5, "contrast": 0, "white_balance": 0, "shift": 0, "jpeg": None}
    plain, tolerant = dataset(**given), dataset(**given, tolerance=strong)
    means = [[one[number][0][0].mean() for number in range(12)] for one in (plain, tolerant)]
    assert np.std(means[1]) > 2 * np.std(means[0])
    assert tolerant.store[0].mean() == plain.store[0].mean()
    for section, key, hint in (
        ({"brightnes": 0.1}, "brightnes", "did you mean 'brightness'"),
        ({"shift": -1}, "shift", "at least 0.0, not -1"),
    ):
        with pytest.raises(ConfigError, match=hint) as caught:
            dataset(**given, tolerance=section)
        assert caught.value.key == f"DataLoader.MVTecDataset.tolerance.{key}"
