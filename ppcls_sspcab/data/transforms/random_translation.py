"""A shift of the picture before CutPaste."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ppcls_sspcab.registry import TRANSFORMS


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
