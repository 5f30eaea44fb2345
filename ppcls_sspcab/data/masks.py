"""The pixels of a picture that are marked as its defect."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ppcls_sspcab.data.samples import Sample
from ppcls_sspcab.errors import DataError
from ppcls_sspcab.image.decode import decode_mask

# A mask and its picture may be rounded differently, but not be of another shape.
SHAPE_TOLERANCE = 0.02


def whole_mask(sample: Sample) -> np.ndarray | None:
    """All marked pixels of a sample at the masks' own size, bool [H, W]; None without a mask.

    Raises:
        DataError: a mask's file cannot be read (ImageError), or the sample's masks differ in size.
    """
    if sample.mask_path is None:
        return None
    mask = decode_mask(sample.mask_path)
    for path in sample.further_masks:
        further = decode_mask(path)
        if further.shape != mask.shape:
            raise DataError(
                f"{path} and {sample.mask_path} mark the same picture and differ in size: "
                f"{further.shape[1]}x{further.shape[0]}, {mask.shape[1]}x{mask.shape[0]}"
            )
        mask = mask | further
    return mask


def load_mask(sample: Sample, shape: tuple[int, int]) -> np.ndarray | None:
    """The defect's pixels, resized to ``shape`` (height, width) by nearest neighbour.

    Returns:
        bool [height, width], all False for a good sample; None for a bad one without a mask.

    Raises:
        DataError: as :func:`whole_mask`.
    """
    if sample.label == 0:
        return np.zeros(shape, bool)
    mask = whole_mask(sample)
    if mask is None or mask.shape == shape:
        return mask
    pixels = Image.fromarray(mask.astype(np.uint8))
    return np.asarray(pixels.resize(shape[::-1], Image.Resampling.NEAREST)) > 0


def true_mask(sample: Sample, shape: tuple[int, int]) -> np.ndarray | None:
    """:func:`load_mask` without losing a small defect, and after a check that the mask fits.

    Raises:
        DataError: as :func:`whole_mask`; a mask of another shape than its picture, or one of a bad
            picture that marks nothing: it belongs to another picture.
    """
    if sample.label == 0 or sample.mask_path is None:
        return load_mask(sample, shape)
    _check_shape(sample.path, sample.mask_path)
    found = load_mask(sample, shape)
    if found is None or found.any():
        return found
    whole = whole_mask(sample)
    if whole is None or not whole.any():
        raise DataError(
            f"{sample.mask_path} marks no pixel of the bad picture {sample.path}: is it another "
            "picture's mask? Remove it if nobody marked the defect"
        )
    # Smaller than a pixel of the network: it must not turn into a good picture.
    small = Image.fromarray(whole.astype(np.float32)).resize(shape[::-1], Image.Resampling.BOX)
    return np.asarray(small) > 0


def _check_shape(path: str, mask_path: str) -> None:
    with Image.open(path) as picture, Image.open(mask_path) as mask:
        (width, height), (mask_width, mask_height) = picture.size, mask.size
    upright = width / mask_width / (height / mask_height)
    # A camera that was turned notes it in the picture, which then is turned when it is read.
    turned = width / mask_height / (height / mask_width)
    if min(abs(upright - 1), abs(turned - 1)) > SHAPE_TOLERANCE:
        raise DataError(
            f"{mask_path} is {mask_width}x{mask_height} and its picture {path} "
            f"{width}x{height} (width x height): is it another picture's mask?"
        )
