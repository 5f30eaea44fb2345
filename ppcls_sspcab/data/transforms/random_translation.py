"""A shift of the picture before CutPaste."""

from __future__ import annotations

import numpy as np

from ppcls_sspcab.registry import TRANSFORMS


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

    def draw(self, rng: np.random.Generator, height: int, width: int) -> tuple[int, int]:
        """Draws how far a picture of this size moves down and to the right, in pixels."""
        reaches = int(self.fraction * height), int(self.fraction * width)
        down, right = (int(rng.integers(-reach, reach + 1)) for reach in reaches)
        return down, right

    def apply(self, image: np.ndarray, parameters: tuple[int, int]) -> np.ndarray:
        """Shifts uint8 [H, W, 3]; the result has the same shape."""
        (height, width), (down, right) = image.shape[:2], parameters
        moved = image[_reflected(height, down)]
        result = np.roll(moved, right, axis=1)  # an index for all columns takes five times as long
        border = slice(0, right) if right > 0 else slice(width + right, None)
        result[:, border] = moved[:, _reflected(width, right)[border]]
        return result


def _reflected(length: int, shift: int) -> np.ndarray:
    index = np.abs(np.arange(length) - shift)
    return np.minimum(index, 2 * (length - 1) - index)
