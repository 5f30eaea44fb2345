"""The pixels of a picture that are marked as its defect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from ppcls_sspcab.data.samples import Sample
from ppcls_sspcab.errors import DataError
from ppcls_sspcab.image.decode import ImageError, decode_mask

# A mask and its picture may be rounded differently, but not be of another shape.
SHAPE_TOLERANCE = 0.02
# A mask that marks a larger share of its picture marks the ground and not the defect.
MOST_MARKED = 0.9


class MaskError(DataError):
    """A mask that cannot be its picture's; ``kind`` says in the plural what is wrong with it."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def whole_mask(sample: Sample) -> np.ndarray | None:
    """All marked pixels of a sample at the masks' own size, bool [H, W]; None without a mask.

    Raises:
        MaskError: a mask's file cannot be read, the sample's masks differ in size, they are of
            another shape than the picture, or mark no pixel of it or nearly all.
        ImageError: the picture cannot be read.
    """
    if sample.mask_path is None:
        return None
    mask = _united((sample.mask_path, *sample.further_masks))
    _check_shape(sample.path, sample.mask_path)
    if not mask.any():
        raise MaskError(
            "masks that mark nothing",
            f"{sample.mask_path} marks no pixel of the bad picture {sample.path}: is it another "
            "picture's mask? Remove it if nobody marked the defect",
        )
    if mask.mean() > MOST_MARKED:
        raise MaskError(
            "masks that mark nearly the whole picture",
            f"{sample.mask_path} marks {mask.mean():.0%} of {sample.path}: is it inverted? White "
            "must mark the defect, black the rest",
        )
    return mask


def true_mask(sample: Sample, shape: tuple[int, int]) -> np.ndarray | None:
    """The defect's pixels, resized to ``shape`` (height, width) without losing a small defect.

    Returns:
        bool [height, width], all False for a good sample; None for a bad one without a mask.

    Raises:
        MaskError, ImageError: as :func:`whole_mask`.
    """
    if sample.label == 0:
        return np.zeros(shape, bool)
    mask = whole_mask(sample)
    if mask is None or mask.shape == shape:
        return mask
    pixels = Image.fromarray(mask.astype(np.uint8))
    nearest = np.asarray(pixels.resize(shape[::-1], Image.Resampling.NEAREST)) > 0
    if nearest.any():
        return nearest
    # Smaller than a pixel of the network: it must not turn into a good picture.
    small = Image.fromarray(mask.astype(np.float32)).resize(shape[::-1], Image.Resampling.BOX)
    return np.asarray(small) > 0


def unfit_masks(samples: Sequence[Sample], threads: int) -> Iterator[MaskError]:
    """What is wrong with the samples' masks, as :func:`whole_mask` says it, in their order."""

    def wrong(sample: Sample) -> MaskError | None:
        try:
            whole_mask(sample)
        except MaskError as error:
            return error
        except ImageError:  # the picture's own fault, which is found when it is read
            pass
        return None

    with ThreadPoolExecutor(threads) as pool:
        yield from filter(None, pool.map(wrong, samples))


def _united(paths: Sequence[str]) -> np.ndarray:
    try:
        first, *further = (decode_mask(path)[0] for path in paths)
    except ImageError as error:
        raise MaskError("unreadable masks", str(error)) from error
    for path, mask in zip(paths[1:], further, strict=True):
        if mask.shape != first.shape:
            raise MaskError(
                "masks of one picture that differ in size",
                f"{path} and {paths[0]} mark the same picture and differ in size: "
                f"{mask.shape[1]}x{mask.shape[0]}, {first.shape[1]}x{first.shape[0]}",
            )
        first = first | mask
    return first


def _check_shape(path: str, mask_path: str) -> None:
    try:
        with Image.open(path) as picture, Image.open(mask_path) as mask:
            (width, height), (mask_width, mask_height) = picture.size, mask.size
    except Exception as error:  # as image/decode.py says of Pillow's readers
        raise ImageError(path, f"cannot be read ({error or type(error).__name__})") from error
    upright = width / mask_width / (height / mask_height)
    # A camera that was turned notes it in the picture, which then is turned when it is read.
    turned = width / mask_height / (height / mask_width)
    if min(abs(upright - 1), abs(turned - 1)) > SHAPE_TOLERANCE:
        raise MaskError(
            "masks of another size than their pictures",
            f"{mask_path} is {mask_width}x{mask_height}, its picture {width}x{height} (width x "
            f"height, {path}): is it another picture's mask?",
        )
