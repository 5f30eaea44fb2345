"""True masks: of any value and size, small defects kept, another picture's refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ppcls_sspcab.cli.main import main
from ppcls_sspcab.data.masks import MaskError, true_mask
from ppcls_sspcab.data.samples import Sample
from ppcls_sspcab.errors import DataError


def sample(
    folder: Path, picture: tuple[int, int], mask: np.ndarray | None, label: int = 1
) -> Sample:
    """A picture of (width, height) and its mask as files."""
    path, mask_path = folder / "picture.png", folder / "mask.png"
    Image.new("RGB", picture).save(path)
    if mask is not None:
        Image.fromarray(mask.astype(np.uint8)).save(mask_path)
    return Sample(str(path), label, "bent", str(mask_path) if mask is not None else None, "test")


@pytest.mark.parametrize("value", [1, 7, 255])
def test_any_value_above_0_marks_at_any_size(tmp_path: Path, value: int) -> None:
    mask = np.zeros((60, 90))
    mask[30:, 45:] = value
    found = true_mask(sample(tmp_path, (180, 120), mask), (32, 48))
    expected = np.zeros((32, 48), bool)
    expected[16:, 24:] = True
    np.testing.assert_array_equal(found, expected)


def test_a_defect_smaller_than_a_pixel_is_not_lost(tmp_path: Path) -> None:
    mask = np.zeros((400, 400))
    mask[203, 101] = 255
    found = true_mask(sample(tmp_path, (400, 400), mask), (32, 32))
    assert np.argwhere(found).tolist() == [[16, 8]]


def test_pictures_without_a_mask(tmp_path: Path) -> None:
    assert true_mask(sample(tmp_path, (40, 40), None), (32, 32)) is None
    good = true_mask(sample(tmp_path, (40, 40), None, label=0), (32, 32))
    assert good is not None
    assert good.shape == (32, 32)
    assert not good.any()


def test_a_mask_of_another_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"90x60.*40x40.*another picture's mask"):
        true_mask(sample(tmp_path, (40, 40), np.ones((60, 90))), (32, 32))
    with pytest.raises(DataError, match="marks no pixel"):
        true_mask(sample(tmp_path, (40, 40), np.zeros((40, 40))), (32, 32))


SIDE = 128


def scratch(scale: int = 1) -> Image.Image:
    """A white line on black, drawn at ``scale`` times the size."""
    drawn = Image.new("L", (SIDE * scale, SIDE * scale))
    ends = [(20 * scale, 31 * scale), (90 * scale, 60 * scale)]
    ImageDraw.Draw(drawn).line(ends, fill=255, width=3 * scale)
    return drawn


def as_saved(form: str, folder: Path) -> tuple[Path, np.ndarray]:
    """The mask as tools save it, and the pixels that it marks."""
    hard = scratch()
    marked = np.asarray(hard) > 0
    path = folder / "000_mask.png"
    if form == "jpeg":
        path = folder / "000_mask.jpg"
        hard.save(path, quality=75)
    elif form == "soft edges":
        soft = scratch(8).resize((SIDE, SIDE), Image.Resampling.BOX)
        marked = np.asarray(soft) >= 128
        soft.save(path)
    elif form == "red paint":
        paint = np.zeros((SIDE, SIDE, 4), np.uint8)
        paint[..., 0], paint[..., 3] = 255, np.asarray(hard)
        Image.fromarray(paint).save(path)
    elif form == "black paint":
        paint = np.zeros((SIDE, SIDE, 4), np.uint8)
        paint[..., 3] = np.asarray(hard)
        Image.fromarray(paint).save(path)
    elif form == "transparent index":
        kinds = Image.fromarray(np.where(marked, 0, 3).astype(np.uint8), "P")
        kinds.putpalette([255, 0, 0] + [0] * 6 + [255] * 3)
        kinds.save(path, transparency=3)
    elif form == "kinds":
        Image.fromarray((marked * np.arange(1, SIDE + 1) % 8 + marked).astype(np.uint8)).save(path)
    return path, marked


@pytest.mark.parametrize(
    "form", ["jpeg", "soft edges", "red paint", "black paint", "transparent index", "kinds"]
)
def test_a_mask_marks_the_defect_however_it_was_saved(tmp_path: Path, form: str) -> None:
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "000.png")
    path, marked = as_saved(form, tmp_path)
    bad = Sample(str(tmp_path / "000.png"), 1, "scratch", str(path), "test")
    found = true_mask(bad, (SIDE, SIDE))
    assert found is not None
    overlap = (found & marked).sum() / (found | marked).sum()
    assert overlap == 1 if form != "jpeg" else overlap > 0.95


def test_an_inverted_mask_is_unfit(tmp_path: Path) -> None:
    with pytest.raises(MaskError, match=r"marks 99% of .*inverted"):
        true_mask(sample(tmp_path, (SIDE, SIDE), 255 - np.asarray(scratch())), (32, 32))


def test_data_check_names_masks_that_mean_something_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "line"
    for split, kind in (("train", "good"), ("test", "good"), ("test", "scratch")):
        (root / "part" / split / kind).mkdir(parents=True)
        for index in range(4):
            noise = np.random.default_rng(len(split + kind) + index).integers(0, 255, (SIDE, SIDE))
            picture = Image.fromarray(noise.astype(np.uint8))
            picture.save(root / "part" / split / kind / f"{index:03d}.png")
    truth = root / "part/ground_truth/scratch"
    truth.mkdir(parents=True)
    for index, form in enumerate(("jpeg", "soft edges", "red paint")):
        path, _ = as_saved(form, tmp_path)
        path.rename(truth / f"{index:03d}_mask{path.suffix}")
    scratch().point(lambda value: 255 - value).save(truth / "003_mask.png")
    assert main(["data", "check", str(root)]) == 2
    said = capsys.readouterr().out
    assert (
        f"note: 2 x masks of grey levels (JPEG, soft edges), marked from half their largest "
        f"value on: {truth}/000_mask.jpg, {truth}/001_mask.png\n" in said
    )
    assert f"where they are opaque: {truth}/002_mask.png\n" in said
    assert f"WRONG: 1 x masks that mark nearly the whole picture\n    {truth}/003_mask.png" in said
