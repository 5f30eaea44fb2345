"""From the cells of a feature map to the pixels of a picture, as two matrices."""

from __future__ import annotations

import numpy as np


def upsampling_matrix(pixels: int, cells: int, deviation: float) -> np.ndarray:
    """Linear interpolation between the cells' middles, then a Gaussian blur.

    ``rows @ map @ columns.T`` upsamples a map; a product of matrices gives the same numbers in
    every runtime, which their resize operators do not.

    Args:
        pixels: length of the picture's side.
        cells: number of cells along it.
        deviation: standard deviation of the blur in pixels; 0 for none.

    Returns:
        float32 [pixels, cells]; every row is >= 0 and sums to 1, also at the edges.
    """
    middles = (np.arange(pixels) + 0.5) * cells / pixels - 0.5
    distances = np.abs(middles.clip(0, cells - 1)[:, None] - np.arange(cells)[None, :])
    linear = (1 - distances).clip(0)
    if deviation > 0:
        offsets = np.arange(pixels)[:, None] - np.arange(pixels)[None, :]
        kernel = np.exp(-0.5 * (offsets / deviation) ** 2)
        linear = kernel / kernel.sum(axis=1, keepdims=True) @ linear
    return linear.astype(np.float32)
