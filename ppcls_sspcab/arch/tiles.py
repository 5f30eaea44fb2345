"""Tiles of pictures: cut inside the graph, and maps of them joined without seams."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle
from paddle import nn


class Tiles(nn.Layer):
    """Cuts pictures into equal tiles, row by row.

    Args:
        size: (h, w) of a tile.
        starts: the first row of each row of tiles, and the first column of each column, in pixels.

    Attributes:
        size: as given. ``grid``: number of tiles down and across. ``count``: T, of all tiles.
    """

    def __init__(self, size: Sequence[int], starts: Sequence[np.ndarray]) -> None:
        super().__init__()
        self.size = (int(size[0]), int(size[1]))
        self.grid = (len(starts[0]), len(starts[1]))
        self.count = self.grid[0] * self.grid[1]
        for name, first, length in zip(("rows", "columns"), starts, self.size, strict=True):
            index = (first[:, None] + np.arange(length)).ravel()
            self.register_buffer(name, paddle.to_tensor(index.astype(np.int64)))

    def cut(self, images: paddle.Tensor) -> paddle.Tensor:
        """float [N, C, H, W] -> [N * T, C, h, w], the tiles of a picture one after the other."""
        (down, across), (height, width) = self.grid, self.size
        rows = paddle.index_select(images, self.rows, axis=2)
        tiles = paddle.index_select(rows, self.columns, axis=3)
        channels = images.shape[1]
        tiles = tiles.reshape([-1, channels, down, height, across, width])
        return tiles.transpose([0, 2, 4, 1, 3, 5]).reshape([-1, channels, height, width])


class Patches(Tiles):
    """Square patches at every ``stride`` pixels, from the upper left corner on.

    Args:
        image_size: (H, W) of the pictures.
        size: side of a patch.
        stride: pixels from one patch to the next.

    Raises:
        ValueError: a patch larger than the picture, or a stride below 1.
    """

    def __init__(self, image_size: Sequence[int], size: int, stride: int) -> None:
        _require_inside((size, size), image_size, "a patch")
        if stride < 1:
            raise ValueError(f"stride must be at least 1, not {stride}")
        starts = [np.arange(0, side - size + 1, stride) for side in image_size]
        super().__init__((size, size), starts)


class Tiling(Tiles):
    """Tiles that cover a picture evenly and overlap, and the way back from their maps to its own.

    Args:
        image_size: (H, W) of the pictures.
        size: (h, w) of a tile.
        overlap: the least share of a tile's side that neighbours have in common, 0..0.75; the
            tiles are spread evenly, so they may overlap more.

    Raises:
        ValueError: a tile larger than the picture, or ``overlap`` out of range.
    """

    def __init__(self, image_size: Sequence[int], size: Sequence[int], overlap: float) -> None:
        if not 0 <= overlap <= 0.75:
            raise ValueError(f"overlap must lie in 0..0.75, not {overlap}")
        _require_inside(size, image_size, "a tile")
        starts = [
            _spread(side, length, overlap) for side, length in zip(image_size, size, strict=True)
        ]
        super().__init__(size, starts)
        down, across = (
            _blending(side, length, first)
            for side, length, first in zip(image_size, size, starts, strict=True)
        )
        self.register_buffer("down", paddle.to_tensor(down))
        self.register_buffer("across", paddle.to_tensor(np.ascontiguousarray(across.T)))

    def join(self, maps: paddle.Tensor) -> paddle.Tensor:
        """Maps of tiles, float32 [N * T, h, w] -> maps of pictures, float32 [N, H, W].

        Where tiles overlap, each counts the more the further a pixel lies inside it.
        """
        (down, across), (height, width) = self.grid, self.size
        planes = maps.reshape([-1, down, across, height, width]).transpose([0, 1, 3, 2, 4])
        planes = planes.reshape([-1, down * height, across * width])
        return paddle.matmul(paddle.matmul(self.down, planes), self.across)


def _require_inside(size: Sequence[int], image_size: Sequence[int], what: str) -> None:
    if not (1 <= size[0] <= image_size[0] and 1 <= size[1] <= image_size[1]):
        raise ValueError(
            f"{what} of {size[0]}x{size[1]} does not fit into pictures of "
            f"{image_size[0]}x{image_size[1]} (height x width, Preprocess.image_size)"
        )


def _spread(side: int, length: int, overlap: float) -> np.ndarray:
    """First pixels of the fewest tiles that cover a side with the overlap."""
    step = max(1, int(length * (1 - overlap)))
    count = -(-(side - length) // step) + 1
    return np.rint(np.linspace(0, side - length, count)).astype(np.int64)


def _blending(side: int, length: int, starts: np.ndarray) -> np.ndarray:
    """float32 [side, tiles * length]: how much each pixel of each tile counts; rows sum to 1."""
    inside = np.minimum(np.arange(1, length + 1), np.arange(length, 0, -1))
    weights = np.zeros((side, len(starts), length))
    for tile, start in enumerate(starts):
        weights[start + np.arange(length), tile, np.arange(length)] = inside
    weights /= weights.sum(axis=(1, 2), keepdims=True)
    return weights.reshape(side, -1).astype(np.float32)
