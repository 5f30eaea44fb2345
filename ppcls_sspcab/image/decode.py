"""Reading picture files: one decoder for training and deployment."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar, Union

import numpy as np
from PIL import Image, ImageOps

from ppcls_sspcab.errors import DataError

File = Union[str, "os.PathLike[str]", bytes, BinaryIO]

Source = File | np.ndarray

White = int | Literal["auto", "full"]
FULL_WHITE = 65535

MaskRule = Literal["value", "level", "opacity"]
MOST_KINDS = 8  # of defects in one mask; more values are grey levels

_SUBFILE_TYPE, _COPY_OR_MASK = 254, 0b101  # of a page of a TIFF: a smaller copy, or a mask

T = TypeVar("T")

EXTENSIONS = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".bmp", ".tif", ".tiff", ".webp", ".gif"),
    *(".pbm", ".pgm", ".ppm", ".pnm"),
)
MAX_PIXELS = 178_956_970  # where Pillow itself speaks of a decompression bomb
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM")


class ImageError(DataError):
    """A picture that cannot be read: ``name`` is its path or other source, ``reason`` says why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def decode(source: Source, white: White = "full", most_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads a picture as the network sees it.

    EXIF orientation is applied. A file of several pages or frames is refused, since a defect may be
    on any of them; smaller copies in a TIFF and what a camera adds to a JPEG do not count. Grey
    becomes three equal channels. Transparency is dropped: the colour stored under it is what
    counts, nothing is blended. Grey of more than 8 bits is scaled by ``white``; a 32-bit integer
    picture is read so if no value exceeds 65535. Of 16-bit colour the high byte is kept. Floating
    point is refused, for want of an agreed white.

    Args:
        source: a path, the bytes of a file, a binary file object, or uint8 pixels
            [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] in RGB(A) order.
        white: of grey pictures of more than 8 bits: the value that becomes 255, 1..65535, as larger
            ones do; ``full``: 65535, the high byte is kept; ``auto``: not known, they are refused.
        most_pixels: a picture of more is refused before it is decoded.

    Returns:
        uint8 RGB [H, W, 3], contiguous.

    Raises:
        ImageError: whatever is wrong with the source.
    """
    return _read(source, partial(_to_rgb, white=white), most_pixels=most_pixels)


def brightest(source: Source) -> int | None:
    """The value that 99.9 % of the pixels of a grey picture of more than 8 bits do not exceed.

    Other pictures are not decoded: None.

    Raises:
        ImageError: as :func:`decode`.
    """
    return _read(source, _brightest, turned=False)


def decode_mask(source: Source) -> tuple[np.ndarray, MaskRule]:
    """Reads a mask at its own size.

    Rules: ``opacity``, where some pixels are transparent and others not: the opaque ones are
    marked, whatever their colour. ``level``, where values are grey levels, since the file is a JPEG
    or has more than 8 values above 0, the largest 128 or more: marked from half the largest on.
    Else ``value``: every value above 0 marks, as values tell kinds of defects.

    Returns:
        the marked pixels, bool [H, W]; in colour its largest channel counts.
        the rule that decided.

    Raises:
        ImageError: as :func:`decode`.
    """
    return _read(source, _to_mask)


def _read(
    source: Source,
    convert: Callable[[Image.Image, str], T],
    turned: bool = True,
    most_pixels: int = MAX_PIXELS,
) -> T:
    name = name_of(source)
    try:
        if isinstance(source, np.ndarray):
            return convert(Image.fromarray(_from_array(source, name)), name)
        with Image.open(_opened(source, name), formats=_FORMATS) as image:
            if image.width * image.height > most_pixels:
                raise ImageError(
                    name, f"{image.width}x{image.height} pixels are more than {most_pixels}"
                )
            _require_one_page(image, name)
            if not turned:
                return convert(image, name)
            upright = ImageOps.exif_transpose(image)
            upright.format = image.format
            return convert(upright, name)
    except ImageError:
        raise
    except FileNotFoundError:
        raise _missing(Path(name)) from None
    except Image.UnidentifiedImageError:
        raise ImageError(name, "is no picture of a known kind") from None
    except Exception as error:  # Pillow's readers raise nearly every built-in type on damaged files
        raise ImageError(name, f"cannot be read ({error or type(error).__name__})") from error


def _require_one_page(image: Image.Image, name: str) -> None:
    if image.format == "MPO":  # a camera's JPEG: previews, depth or gain maps follow the picture
        return
    frames = getattr(image, "n_frames", 1)
    if image.format == "TIFF":
        pages = 0
        for frame in range(frames):
            image.seek(frame)
            tags: Any = getattr(image, "tag_v2", {})
            pages += not tags.get(_SUBFILE_TYPE, 0) & _COPY_OR_MASK
        image.seek(0)
        frames = pages
    if frames > 1:
        raise ImageError(
            name, f"holds {frames} pages, of which one can be judged: save each as a file"
        )


def name_of(source: Source) -> str:
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    if isinstance(source, np.ndarray):
        return "<array>"
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "<bytes>"
    return str(getattr(source, "name", "<stream>"))


def _opened(source: File, name: str) -> Path | BinaryIO:
    if isinstance(source, (bytes, bytearray, memoryview)):
        if not source:
            raise ImageError(name, "is empty (0 bytes)")
        return io.BytesIO(source)
    if not isinstance(source, (str, os.PathLike)):
        if not hasattr(source, "read"):
            raise ImageError(name, f"a {type(source).__name__} is no picture")
        return source
    path = Path(source)
    try:
        status = path.stat()
    except FileNotFoundError:
        raise _missing(path) from None
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(name, "is a folder, not a picture")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(name, "is no regular file")
    if status.st_size == 0:
        raise ImageError(name, "is empty (0 bytes)")
    return path


def _missing(path: Path) -> ImageError:
    return ImageError(
        os.fspath(path), "is a link to nothing" if path.is_symlink() else "does not exist"
    )


def _is_deep(image: Image.Image) -> bool:
    """Whether a picture is grey of more than 8 bits."""
    return image.mode == "I" or image.mode.startswith("I;16")


def _brightest(image: Image.Image, name: str) -> int | None:
    if not _is_deep(image):
        return None
    return int(np.percentile(_grey_levels(image, name), 99.9, method="higher"))


def _grey_levels(image: Image.Image, name: str) -> np.ndarray:
    grey = np.asarray(image)
    if grey.min() < 0 or grey.max() > FULL_WHITE:
        raise ImageError(name, "32-bit pixels over 65535 have no agreed white; save as 16 bit")
    return grey


def _to_rgb(image: Image.Image, name: str, white: White = "full") -> np.ndarray:
    if image.mode == "F":
        raise ImageError(name, "floating point pixels have no agreed white; save it as 8 or 16 bit")
    if _is_deep(image):
        if white == "auto":
            raise ImageError(
                name, "has more than 8 bits, and no white level is set for it (Preprocess.white)"
            )
        grey = _grey_levels(image, name)
        if white == "full":
            return _from_array((grey >> 8).astype(np.uint8), name)
        levels = (np.arange(white + 1, dtype=np.uint32) * 510 + white) // (2 * white)  # rounded
        return _from_array(levels.astype(np.uint8)[np.minimum(grey, white)], name)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _to_mask(image: Image.Image, name: str) -> tuple[np.ndarray, MaskRule]:
    if image.mode in ("LA", "PA", "RGBA") or (
        image.mode in ("P", "L", "RGB") and "transparency" in image.info
    ):
        opaque = np.asarray(image.convert("RGBA"))[..., 3] >= 128
        if opaque.any() and not opaque.all():
            return opaque, "opacity"
    if image.mode in ("P", "LA", "PA", "RGBA", "CMYK"):
        values = _to_rgb(image, name)
    else:
        values = np.asarray(image)
    values = values if values.ndim == 2 else values.max(axis=2)
    marked = values > 0
    if not marked.any():
        return marked, "value"
    largest = float(values.max())
    soft = largest >= 128 and len(np.unique(values[marked])) > MOST_KINDS
    if soft or image.format == "JPEG":
        return values >= largest / 2, "level"
    return marked, "value"


def _from_array(pixels: np.ndarray, name: str) -> np.ndarray:
    shape = "x".join(map(str, pixels.shape))
    if pixels.dtype != np.uint8:
        raise ImageError(name, f"pixels must be uint8, not {pixels.dtype}")
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or pixels.size == 0:
        raise ImageError(name, f"an array of {shape} is no picture [H, W], [H, W, 1], 3 or 4")
    channels = np.zeros(3, int) if pixels.shape[2] == 1 else np.arange(3)
    return np.ascontiguousarray(pixels[:, :, channels])
