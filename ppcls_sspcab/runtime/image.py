"""From a picture file to the network's input: the one preprocessing of training and deployment.

Training, evaluation, prediction and the exported model all decode, resize and normalise through
these lines. ``Preprocess`` is the contract that travels with weights and exports.
"""

from __future__ import annotations

import io
import math
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import BinaryIO, Literal, Union, get_args

import numpy as np
from PIL import Image, ImageOps

from ppcls_sspcab.errors import ConfigError, DataError, did_you_mean

File = Union[str, "os.PathLike[str]", bytes, BinaryIO]
Source = File | np.ndarray
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "area"]

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
MAX_PIXELS = 178_956_970  # where Pillow itself speaks of a decompression bomb

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM")
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "area": Image.Resampling.BOX,
}


class ImageError(DataError):
    """A picture that cannot be read.

    Args:
        name: the file's path, or what else the picture came from.
        reason: why it cannot be read.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def decode(source: Source) -> np.ndarray:
    """Reads a picture as the network sees it.

    EXIF orientation is applied; of an animation the first frame is taken. Grey becomes three equal
    channels. Transparency is dropped: the colour stored under it is what counts, nothing is
    blended. Of 16-bit pictures the high byte is kept (65535 -> 255), for grey as for colour; a
    32-bit integer picture is read so if no value exceeds 65535. Floating point is refused, for
    want of an agreed white.

    Args:
        source: a path, the bytes of a file, a binary file object, or uint8 pixels
            [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] in RGB(A) order.

    Returns:
        uint8 RGB [H, W, 3], contiguous.

    Raises:
        ImageError: whatever is wrong with the source.
    """
    return _read(source, _to_rgb)


def decode_mask(source: Source) -> np.ndarray:
    """Reads a mask at its own size: bool [H, W], True wherever any colour channel is above 0.

    Raises:
        ImageError: as :func:`decode`.
    """
    return _read(source, _to_mask)


def _read(source: Source, convert: Callable[[Image.Image, str], np.ndarray]) -> np.ndarray:
    name = _name_of(source)
    try:
        if isinstance(source, np.ndarray):
            return convert(Image.fromarray(_from_array(source, name)), name)
        with Image.open(_opened(source, name), formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(
                    name, f"{image.width}x{image.height} pixels are more than {MAX_PIXELS}"
                )
            return convert(ImageOps.exif_transpose(image), name)
    except ImageError:
        raise
    except FileNotFoundError:
        raise _missing(Path(name)) from None
    except Image.UnidentifiedImageError:
        raise ImageError(name, "is no picture of a known kind") from None
    except Exception as error:  # Pillow's readers raise nearly every built-in type on damaged files
        raise ImageError(name, f"cannot be read ({error or type(error).__name__})") from error


def _name_of(source: Source) -> str:
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


def _to_rgb(image: Image.Image, name: str) -> np.ndarray:
    if image.mode == "F":
        raise ImageError(name, "floating point pixels have no agreed white; save it as 8 or 16 bit")
    if image.mode == "I" or image.mode.startswith("I;16"):
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() > 65535:
            raise ImageError(name, "32-bit pixels over 65535 have no agreed white; save as 16 bit")
        return _from_array((grey >> 8).astype(np.uint8), name)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _to_mask(image: Image.Image, name: str) -> np.ndarray:
    if image.mode in ("P", "LA", "PA", "RGBA", "CMYK"):
        return _to_rgb(image, name).any(axis=2)
    values = np.asarray(image) > 0
    return values if values.ndim == 2 else values.any(axis=2)


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


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes the network's input.

    Args:
        image_size: (height, width) of the input, in pixels.
        interpolation: filter of the resize; when a picture shrinks, all but ``nearest`` widen
            with it, as Pillow's do ("area" is Pillow's BOX).
        mean: per channel R, G, B, in units of 0..1.
        std: likewise, above 0.

    Raises:
        ConfigError: a value out of range, with the field's name as its key.
    """

    image_size: Sequence[int] = (256, 256)
    interpolation: Interpolation = "bilinear"
    mean: Sequence[float] = (0.485, 0.456, 0.406)
    std: Sequence[float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        size = _numbers(self.image_size, 2, "image_size", "two whole numbers: height, width")
        if any(value != int(value) or not 1 <= value <= 16384 for value in size):
            raise ConfigError("image_size", f"must be 1 to 16384 pixels each, not {size}")
        if self.interpolation not in get_args(Interpolation):
            hint = did_you_mean(str(self.interpolation), get_args(Interpolation))
            raise ConfigError("interpolation", f"unknown {self.interpolation!r}{hint}")
        mean = _numbers(self.mean, 3, "mean", "three numbers: R, G, B in 0..1")
        std = _numbers(self.std, 3, "std", "three numbers: R, G, B in 0..1")
        if not all(0 <= value <= 1 for value in mean):
            raise ConfigError("mean", f"must lie in 0..1 (not 0..255), not {mean}")
        if not all(0 < value <= 1 for value in std):
            raise ConfigError("std", f"must lie above 0 and at most at 1 (not 0..255), not {std}")
        object.__setattr__(self, "image_size", tuple(int(value) for value in size))
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "std", std)

    def resize(self, rgb: np.ndarray) -> np.ndarray:
        """Resizes uint8 [H, W, 3] to uint8 [height, width, 3]; the shape is not kept in ratio."""
        height, width = self.image_size
        if rgb.shape[:2] == (height, width):
            return rgb
        resampling = _RESAMPLING[self.interpolation]
        return np.array(Image.fromarray(rgb).resize((width, height), resampling))

    def load(self, source: Source) -> np.ndarray:
        """Decodes and resizes one picture to uint8 [height, width, 3].

        Raises:
            ImageError: as :func:`decode`.
        """
        return self.resize(decode(source))

    def normalize(self, images: np.ndarray) -> np.ndarray:
        """Maps uint8 [N, h, w, 3] to float32 [N, 3, h, w]: (x / 255 - mean) / std."""
        count, height, width, _ = images.shape
        result = np.empty((count, 3, height, width), np.float32)
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            plane = result[:, channel]
            np.multiply(images[..., channel], np.float32(1 / (255 * std)), out=plane)
            plane -= np.float32(mean / std)
        return result

    def __call__(self, sources: Sequence[Source]) -> np.ndarray:
        """Decodes, resizes and normalises pictures to float32 [N, 3, height, width].

        Raises:
            ImageError: the first picture that cannot be read.
        """
        height, width = self.image_size
        images = np.empty((len(sources), height, width, 3), np.uint8)
        for index, source in enumerate(sources):
            images[index] = self.load(source)
        return self.normalize(images)

    def to_dict(self) -> dict[str, object]:
        """Plain lists and texts, for YAML and JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Preprocess:
        """The opposite of :meth:`to_dict`; what is absent takes its default.

        Raises:
            ConfigError: an unknown key or a wrong value.
        """
        if not isinstance(values, Mapping):
            raise ConfigError("Preprocess", f"must be a mapping, not {values!r}")
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise ConfigError(str(name), f"unknown key{did_you_mean(str(name), known)}")
        return cls(**values)  # type: ignore[arg-type]


def _numbers(value: object, count: int, key: str, wanted: str) -> tuple[float, ...]:
    whole = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == count
    if not whole or not all(
        isinstance(item, (int, float, np.integer, np.floating))
        and not isinstance(item, bool)
        and math.isfinite(item)
        for item in value  # type: ignore[attr-defined]
    ):
        raise ConfigError(key, f"must be {wanted}, not {value!r}")
    return tuple(float(item) for item in value)  # type: ignore[attr-defined]
