"""Brightness, contrast, saturation and hue, as one affine map of RGB."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ppcls_sspcab.registry import TRANSFORMS

LUMA = np.array([0.299, 0.587, 0.114])
_YIQ = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_RGB = np.linalg.inv(_YIQ)


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
        self.ranges = (brightness, contrast, saturation, hue)
        names, limits = ("brightness", "contrast", "saturation", "hue"), (1, 1, 1, 0.5)
        for name, value, most in zip(names, self.ranges, limits, strict=True):
            if not 0 <= value <= most:
                raise ValueError(f"{name} must lie in 0..{most}, not {value}")

    def draw(self, rng: np.random.Generator, height: int = 0, width: int = 0) -> Color:
        """Draws the four numbers; the size does not matter."""
        around, drawn = (1.0, 1.0, 1.0, 0.0), rng.uniform(-1, 1, 4).tolist()
        return Color(*(c + d * r for c, d, r in zip(around, drawn, self.ranges, strict=True)))

    def apply(self, image: np.ndarray, parameters: Color) -> np.ndarray:
        """Recolours uint8 [H, W, 3]; the result has the same shape."""
        return recolor(image, parameters)


def recolor(image: np.ndarray, color: Color) -> np.ndarray:
    """Applies ``color`` to uint8 RGB [H, W, 3]; see :class:`ColorJitter`."""
    turn = 2 * math.pi * color.hue
    rotation = np.eye(3)
    rotation[1:, 1:] = [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    grey = np.tile(LUMA, (3, 1))
    saturation = color.saturation * np.eye(3) + (1 - color.saturation) * grey
    tint = _RGB @ rotation @ _YIQ @ saturation
    total = image.sum(axis=0, dtype=np.uint32).sum(axis=0)  # whole rows at a time: 30x mean()
    luma = float(total @ LUMA) / (image.shape[0] * image.shape[1]) * color.brightness
    matrix = color.contrast * color.brightness * tint
    offset = tint @ np.full(3, (1 - color.contrast) * luma)
    table = np.concatenate([matrix, offset[:, None]], axis=1)  # Pillow rounds and clips
    return np.array(Image.fromarray(image).convert("RGB", tuple(table.ravel().tolist())))
