"""Augmentations that come before CutPaste, on uint8 arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ppcls_sspcab.errors import DataError
from ppcls_sspcab.registry import TRANSFORMS

LUMA = np.array([0.299, 0.587, 0.114])
_YIQ = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_RGB = np.linalg.inv(_YIQ)


@dataclass(frozen=True)
class Translation:
    """A shift by whole pixels; positive moves the picture down and to the right."""

    down: int
    right: int


@TRANSFORMS.register
class RandomTranslation:
    """Shifts the picture; the border that comes free mirrors what is beside it.

    The seams of the mirror stay in every view, so that CutPaste is not learnt from any seam at all:
    stretching the picture instead, with nothing made up, was easier to learn and worth less.

    Args:
        fraction: the largest shift as a share of height and of width, 0..0.5.

    Raises:
        ValueError: ``fraction`` is out of range.
    """

    def __init__(self, fraction: float = 0.05) -> None:
        if not 0 <= fraction <= 0.5:
            raise ValueError(f"fraction must lie in 0..0.5, not {fraction}")
        self.fraction = fraction

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Translation:
        """Draws a shift for a picture of this size."""
        down, right = (
            int(rng.integers(-reach, reach + 1))
            for reach in (int(self.fraction * height), int(self.fraction * width))
        )
        return Translation(down, right)

    def apply(self, image: np.ndarray, parameters: Translation) -> np.ndarray:
        """Shifts uint8 [H, W, 3]; the result has the same shape."""
        moved = image[_reflected(image.shape[0], parameters.down)]
        width, right = image.shape[1], parameters.right
        if right >= 0:
            source, kept, border = slice(0, width - right), slice(right, None), slice(0, right)
        else:
            end = width + right
            source, kept, border = slice(-right, None), slice(0, end), slice(end, None)
        result = np.empty_like(moved)
        result[:, kept] = moved[:, source]  # an index for all columns takes five times as long
        result[:, border] = moved[:, _reflected(width, right)[border]]
        return result


def _reflected(length: int, shift: int) -> np.ndarray:
    index = np.abs(np.arange(length) - shift)
    return np.minimum(index, 2 * (length - 1) - index)


@dataclass(frozen=True)
class Crop:
    """The rectangle that stays, in pixels."""

    top: int
    left: int
    height: int
    width: int


@TRANSFORMS.register
class RandomCrop:
    """Cuts a rectangle from anywhere in the picture; what follows sees nothing else.

    Before CutPaste it makes the patches of the paper's section 4.2: the paste lies in the crop.

    Args:
        size: height and width of the crop in pixels, or one number for both.

    Raises:
        ValueError: a side below 1.
    """

    def __init__(self, size: int | list[int]) -> None:
        sides = [size, size] if isinstance(size, int) else list(size)
        if len(sides) != 2 or min(sides) < 1:
            raise ValueError(f"size must be a side or [height, width] in pixels, not {size}")
        self.size = (sides[0], sides[1])

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Crop:
        """Draws a place in a picture of this size.

        Raises:
            DataError: the picture is smaller than the crop.
        """
        if self.size[0] > height or self.size[1] > width:
            raise DataError(
                f"RandomCrop of {self.size[0]}x{self.size[1]} does not fit into pictures of "
                f"{height}x{width} (height x width): lower its size or raise "
                "Preprocess.image_size"
            )
        top = int(rng.integers(height - self.size[0] + 1))
        return Crop(top, int(rng.integers(width - self.size[1] + 1)), *self.size)

    def apply(self, image: np.ndarray, parameters: Crop) -> np.ndarray:
        """uint8 [H, W, 3] -> uint8 [height, width, 3] of the crop."""
        bottom, right = parameters.top + parameters.height, parameters.left + parameters.width
        return np.ascontiguousarray(image[parameters.top : bottom, parameters.left : right])


@dataclass(frozen=True)
class Color:
    """Factors of brightness, contrast and saturation (1 changes nothing), and hue in turns."""

    brightness: float
    contrast: float
    saturation: float
    hue: float


@TRANSFORMS.register
class ColorJitter:
    """Changes brightness, contrast, saturation and hue, in this order, as one affine map.

    Brightness scales; contrast scales about the mean luma of the picture; saturation scales about
    each pixel's luma. Hue is a rotation of the chroma plane of YIQ, so that luma stays: linear,
    unlike the usual detour over HSV, and nearly equal to it for small angles. The four are one 3x3
    matrix and an offset; values are rounded and clipped to 0..255 once, at the end.

    Args:
        brightness: factor from U(1 - brightness, 1 + brightness); 0..1.
        contrast: likewise.
        saturation: likewise.
        hue: turns from U(-hue, hue); 0..0.5.

    Raises:
        ValueError: a value is out of range.
    """

    def __init__(
        self,
        brightness: float = 0.1,
        contrast: float = 0.1,
        saturation: float = 0.1,
        hue: float = 0.1,
    ) -> None:
        for name, value, most in (
            ("brightness", brightness, 1.0),
            ("contrast", contrast, 1.0),
            ("saturation", saturation, 1.0),
            ("hue", hue, 0.5),
        ):
            if not 0 <= value <= most:
                raise ValueError(f"{name} must lie in 0..{most:g}, not {value}")
        self.ranges = (brightness, contrast, saturation, hue)

    def draw(self, rng: np.random.Generator, height: int = 0, width: int = 0) -> Color:
        """Draws the four numbers; the size does not matter."""
        around = (1.0, 1.0, 1.0, 0.0)
        drawn = rng.uniform(-1, 1, 4)
        return Color(
            *(c + float(d) * r for c, d, r in zip(around, drawn, self.ranges, strict=True))
        )

    def apply(self, image: np.ndarray, parameters: Color) -> np.ndarray:
        """Recolours uint8 [H, W, 3]; the result has the same shape."""
        return recolor(image, parameters)


def recolor(image: np.ndarray, color: Color) -> np.ndarray:
    """Applies ``color`` to uint8 RGB [H, W, 3]; see :class:`ColorJitter`."""
    matrix, offset = _affine(image, color)
    table = np.concatenate([matrix, offset[:, None]], axis=1)  # Pillow rounds and clips
    return np.array(Image.fromarray(image).convert("RGB", tuple(table.ravel().tolist())))


def _affine(image: np.ndarray, color: Color) -> tuple[np.ndarray, np.ndarray]:
    turn = 2 * math.pi * color.hue
    rotation = np.eye(3)
    rotation[1:, 1:] = [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    grey = np.tile(LUMA, (3, 1))
    saturation = color.saturation * np.eye(3) + (1 - color.saturation) * grey
    tint = _RGB @ rotation @ _YIQ @ saturation
    total = image.sum(axis=0, dtype=np.uint32).sum(axis=0)  # whole rows at a time: 30x mean()
    luma = float(total @ LUMA) / (image.shape[0] * image.shape[1]) * color.brightness
    matrix = color.contrast * color.brightness * tint
    return matrix, tint @ np.full(3, (1 - color.contrast) * luma)
