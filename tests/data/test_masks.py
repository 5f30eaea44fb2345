"""True masks: of any value and size, small defects kept, another picture's refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppcls_sspcab.data.masks import true_mask
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
