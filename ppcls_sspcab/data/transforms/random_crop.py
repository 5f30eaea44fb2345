"""A crop of the picture before CutPaste: patches of the paper's section 4.2."""

from __future__ import annotations

import numpy as np

from ppcls_sspcab.errors import DataError
from ppcls_sspcab.registry import TRANSFORMS


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

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) of what :meth:`apply` returns."""
        return self.size

    def draw(self, rng: np.random.Generator, height: int, width: int) -> tuple[int, int]:
        """Draws the upper left pixel (row, column) of a crop from a picture of this size.

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
        return top, int(rng.integers(width - self.size[1] + 1))

    def apply(self, image: np.ndarray, parameters: tuple[int, int]) -> np.ndarray:
        """uint8 [H, W, 3] -> uint8 [height, width, 3] of the crop."""
        (top, left), (height, width) = parameters, self.size
        return np.ascontiguousarray(image[top : top + height, left : left + width])
