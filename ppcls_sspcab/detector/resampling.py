"""From one grid to another, along one side of a map, as a matrix."""

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


def receptive_field_matrix(
    pixels: int, cells: int, deviation: float, size: int, stride: int
) -> np.ndarray:
    """Each pixel's mean of the patches around it, weighted by a Gaussian of their middles.

    The receptive-field upsampling of FCDD (Liznerski et al., ICLR 2021, algorithm 1), with weights
    that sum to 1, so that a border, where patches are few, is no calmer than the middle.

    Args:
        pixels: length of the picture's side.
        cells: number of patches along it, ``(pixels - size) // stride + 1``.
        deviation: standard deviation of the Gaussian in pixels; 0 takes the nearest patch.
        size: side of a patch.
        stride: pixels from one patch to the next.

    Returns:
        float32 [pixels, cells]; every row is >= 0 and sums to 1.
    """
    middles = np.arange(cells) * stride + (size - 1) / 2
    distances = np.abs(np.arange(pixels)[:, None] - middles[None, :])
    nearest = distances.min(axis=1, keepdims=True)
    if deviation == 0:
        weights = (distances == nearest).astype(float)
    else:
        # Less what the nearest has in the exponent, or a far border would be 0 / 0.
        weights = np.exp(-0.5 * (distances**2 - nearest**2) / deviation**2)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def resizing_matrix(cells: int, wanted: int) -> np.ndarray:
    """float32 [wanted, cells]: means over what a wanted cell covers, or linear interpolation."""
    if wanted >= cells:
        return upsampling_matrix(wanted, cells, 0.0)
    edges = np.arange(wanted + 1) * cells / wanted
    starts = np.arange(cells)
    covered = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    return (covered.clip(0) * wanted / cells).astype(np.float32)


def mean_matrix(cells: int, side: int) -> np.ndarray:
    """float32 [cells, cells]: the mean of ``side`` (odd) cells around each, fewer at a border."""
    apart = np.abs(np.arange(cells)[:, None] - np.arange(cells)[None, :])
    near = (apart <= side // 2).astype(np.float32)
    return near / near.sum(axis=1, keepdims=True)
