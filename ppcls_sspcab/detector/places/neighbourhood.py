"""Feature maps of several layers on one grid, each place with those around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import paddle
from paddle import nn

from ppcls_sspcab.arch.features import FeatureReader, last_layers, layer_feature
from ppcls_sspcab.detector.resampling import mean_matrix, resizing_matrix

Layers = list[str] | Literal["auto"]
Grid = list[int] | Literal["auto"]
AUTO_STRIDES = (8, 16)
# Of a backbone that has none of the wanted ones, the first of these.
OTHER_STRIDES = (16, 8, 32, 4, 2, 1)
# Places of the grid that is chosen without being asked for: one for so many pixels, within bounds.
PIXELS_OF_A_PLACE = 256
FEWEST_PLACES, MOST_PLACES = 256, 1024


class NeighbourhoodFeatures(nn.Layer):
    """Local means of feature maps, brought to one grid and joined along their channels.

    A place alone says whether an edge lies there, which a shift of a pixel changes; its
    neighbourhood says what is there (PatchCore: Roth et al., CVPR 2022, section 3.1).

    Args:
        network: as :class:`ppcls_sspcab.arch.features.FeatureReader` takes it.
        image_size: (H, W) of the network's input.
        layers: paths of layers of the backbone, or ``auto``: the last ones of ``strides``, or the
            last of another stride where there are none. Where the network keeps a layer untrained
            (``Arch.untrained``), that one is read.
        grid: (h, w), or ``auto``: that of the coarsest of these layers, halved until it has at
            most one place for 256 pixels (but up to 256 anyhow, and never more than 1024).
        neighbourhood: side of the square of places whose mean is taken, odd; 1 is the place alone.
        key: of the section in the configuration, for errors.
        strides: of the layers that ``auto`` takes.

    Attributes:
        needs: names of the features it reads. shape: (C, h, w) of what it gives for a picture.

    Raises:
        ValueError: no layer, an even ``neighbourhood``, or a grid that is no pair of sizes.
        ConfigError: a path that names no layer.
    """

    def __init__(
        self,
        network: nn.Layer,
        image_size: Sequence[int],
        layers: Layers = "auto",
        grid: Grid = "auto",
        neighbourhood: int = 3,
        key: str = "Localize",
        strides: Sequence[int] = AUTO_STRIDES,
    ) -> None:
        super().__init__()
        if neighbourhood < 1 or neighbourhood % 2 == 0:
            raise ValueError(f"neighbourhood must be odd and at least 1, not {neighbourhood}")
        if layers == "auto":
            paths = last_layers(network, image_size, strides)
            paths = paths or last_layers(network, image_size, OTHER_STRIDES)[:1]
        else:
            paths = list(layers)
        if not paths:
            raise ValueError("layers must name at least one layer of the backbone with a map")
        self.needs = tuple(layer_feature(network, path, f"{key}.layers") for path in paths)
        shapes = FeatureReader(network, self.needs).shapes(image_size)
        sizes = [shapes[name][1:] for name in self.needs]
        height, width = _grid(sizes, image_size) if grid == "auto" else _checked(grid)
        self.shape = (sum(size[0] for size in sizes), height, width)
        for index, (_, rows, columns) in enumerate(sizes):
            down = resizing_matrix(rows, height) @ mean_matrix(rows, neighbourhood)
            across = resizing_matrix(columns, width) @ mean_matrix(columns, neighbourhood)
            self.register_buffer(f"down{index}", paddle.to_tensor(down))
            self.register_buffer(f"across{index}", paddle.to_tensor(np.ascontiguousarray(across.T)))

    def forward(self, features: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        """The features that it needs, [N, C_i, h_i, w_i] each, to float32 [N, C, h, w]."""
        return paddle.concat([self._on_grid(features[n], i) for i, n in enumerate(self.needs)], 1)

    def _on_grid(self, found: paddle.Tensor, index: int) -> paddle.Tensor:
        # Paddle 3.3.1 with oneDNN multiplies four dimensions by two wrongly, three rightly.
        planes = paddle.matmul(getattr(self, f"down{index}"), found.flatten(0, 1))
        planes = paddle.matmul(planes, getattr(self, f"across{index}"))
        return planes.reshape([-1, found.shape[1], *self.shape[1:]])


def _grid(sizes: Sequence[tuple[int, ...]], image_size: Sequence[int]) -> tuple[int, int]:
    height, width = min((size[1], size[2]) for size in sizes)
    pixels = image_size[0] * image_size[1]
    most = min(max(pixels // PIXELS_OF_A_PLACE, FEWEST_PLACES), MOST_PLACES)
    while height * width > most:
        height, width = -(-height // 2), -(-width // 2)
    return height, width


def _checked(grid: Sequence[int]) -> tuple[int, int]:
    if len(grid) != 2 or min(grid) < 1:
        raise ValueError(f"grid must be [height, width], both at least 1, not {list(grid)}")
    return int(grid[0]), int(grid[1])
