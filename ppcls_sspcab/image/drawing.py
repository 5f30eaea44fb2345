"""Anomaly maps as people look at them. The colours mean the same in every picture."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

# A map is painted from the first value on, in full from the second on, and with the square
# between them: a defect's own values crowd near 1 and its surroundings' do not.
FADE = (0.4, 0.97)
STRENGTH = 0.6
FOUND, TRUTH = (255, 140, 0), (0, 200, 90)
_YELLOW, _RED = np.array([255.0, 225.0, 0.0]), np.array([215.0, 0.0, 25.0])


def overlay(pixels: np.ndarray, anomaly_map: np.ndarray) -> np.ndarray:
    """The picture with its map painted over it, from yellow to red.

    Args:
        pixels: uint8 RGB [H, W, 3].
        anomaly_map: float [H, W] in [0, 1], 0.5 at the pixel threshold.

    Returns:
        uint8 RGB [H, W, 3]; unchanged where the map is low.
    """
    low, high = FADE
    level = ((anomaly_map - low) / (high - low)).clip(0, 1)[..., None] ** 2
    colour = _YELLOW + (_RED - _YELLOW) * level
    alpha = STRENGTH * level
    return np.rint(pixels * (1 - alpha) + colour * alpha).astype(np.uint8)


def contour(pixels: np.ndarray, region: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """uint8 RGB [H, W, 3] with the border of a region, bool [H, W], drawn just inside it."""
    padded = np.pad(region, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    drawn = pixels.copy()
    drawn[region & ~inner] = colour
    return drawn


def sixteen_bit(anomaly_map: np.ndarray) -> Image.Image:
    """A map in [0, 1] as a 16-bit grey picture: 65535 times the value, so 0.5 is 32768."""
    return Image.fromarray(np.rint(anomaly_map * 65535).astype(np.uint16))


def png_of(picture: Image.Image | np.ndarray) -> bytes:
    """The picture, or uint8 pixels [H, W, 3] RGB, as a PNG file."""
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    buffer = io.BytesIO()
    picture.save(buffer, format="png", compress_level=1)
    return buffer.getvalue()
