"""One Gaussian over the embeddings of patches: CutPaste (Li et al., CVPR 2021), section 4.2."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppcls_sspcab.arch.modes import evaluation_mode
from ppcls_sspcab.arch.tiles import Patches
from ppcls_sspcab.detector.batches import Mapped
from ppcls_sspcab.detector.density.gaussian import GaussianDensity
from ppcls_sspcab.detector.localize.base import Features, Localizer
from ppcls_sspcab.detector.localize.projection import orthogonal
from ppcls_sspcab.detector.resampling import receptive_field_matrix
from ppcls_sspcab.registry import LOCALIZERS

# What another order of the same sums may change, as a part of the largest value.
TOLERANCE = 1e-4

Map = Callable[[paddle.Tensor], paddle.Tensor]


@LOCALIZERS.register
class PatchCutPaste(Localizer):
    """Mahalanobis distance of each patch's embedding from those of all patches of good pictures.

    It is for a network that was trained on such patches: ``RandomCrop: {size: 64}`` before
    ``CutPaste: {reference_size: 64}`` in ``transform_ops``, so that what is pasted always lies in
    the crop. Embeddings are L2-normalised and projected to ``channels`` numbers by a fixed
    orthogonal matrix; a pixel is the mean of the patches around it, weighted by a Gaussian
    (receptive-field upsampling).

    Where it gives the same, the network runs once over the whole picture and patches are windows
    of its feature map. A network that pads its convolutions, as ResNets do, embeds a patch
    differently there, and runs each patch by itself: at stride 4, 150 times the work.

    Args:
        network: where it has ``feature_map``, that may stand in for ``embed`` of each patch.
        patch_size: side of a patch in pixels, what the network was trained on.
        stride: pixels from one patch to the next.
        channels: d, at most the embedding's size.
        smoothing: standard deviation of the upsampling's Gaussian, as a share of the shorter side.

    Attributes:
        window: where the network runs once, (h, w) of a patch and (h, w) from one patch to the
            next, in cells of the feature map; None where each patch runs by itself.

    Raises:
        ValueError: a patch larger than the picture, or a value out of range.
    """

    needs = ("images",)

    def __init__(
        self,
        network: nn.Layer,
        image_size: Sequence[int],
        patch_size: int = 64,
        stride: int = 4,
        channels: int = 128,
        smoothing: float = 1 / 32,
    ) -> None:
        patches = Patches(image_size, patch_size, stride)
        size = network.embedding_size
        if not 1 <= channels <= size:
            raise ValueError(f"channels must lie in 1..{size}, not {channels}")
        upsampling = partial(receptive_field_matrix, size=patch_size, stride=stride)
        super().__init__(
            network,
            image_size,
            smoothing,
            cell_shape=(channels, *patches.grid),
            upsampling=upsampling,
        )
        self.patches = patches
        self.density = GaussianDensity(channels, normalize=False)
        self.register_buffer("projection", paddle.to_tensor(orthogonal(size, channels)))
        # Methods, not the layer: its parameters are the detector's, not the map's.
        self._embed = network.embed
        self._feature_map: Map | None = getattr(network, "feature_map", None)
        self.window = self._find_window(network, image_size)
        if self.window is None:
            self.input_pixels = patches.count * patch_size**2

    def cells(self, features: Features) -> paddle.Tensor:
        embeddings = self._embeddings(features["images"])
        norms = (embeddings * embeddings).sum(axis=-1, keepdim=True).sqrt()
        points = paddle.matmul(embeddings / norms.clip(min=1e-12), self.projection)
        return points.transpose([0, 2, 1]).reshape([-1, self.channels, *self.grid])

    def fit_batches(self, cells: Iterable[np.ndarray]) -> None:
        self.density.fit_batches(Mapped(self._points, cells))

    def _points(self, cells: np.ndarray) -> np.ndarray:
        self.require_finite(cells, self.cell_shape)
        return cells.transpose(0, 2, 3, 1).reshape(-1, self.channels)

    def distances(self, cells: paddle.Tensor) -> paddle.Tensor:
        points = cells.flatten(2).transpose([0, 2, 1]).reshape([-1, self.channels])
        return self.density(points).reshape([-1, *self.grid])

    def _embeddings(self, images: paddle.Tensor) -> paddle.Tensor:
        """float32 [N, 3, H, W] -> embeddings of the patches, float32 [N, h * w, D]."""
        if self.window is None or self._feature_map is None:
            embeddings = self._embed(self.patches.cut(images))
            return embeddings.reshape([-1, self.patches.count, embeddings.shape[1]])
        kernel, step = self.window
        pooled = F.avg_pool2d(self._feature_map(images), kernel, stride=step)
        return pooled.flatten(2).transpose([0, 2, 1])

    def _find_window(
        self, network: nn.Layer, image_size: Sequence[int]
    ) -> tuple[list[int], list[int]] | None:
        """Tries on noise whether windows of one feature map are the patches' embeddings."""
        if self._feature_map is None or 1 in self.grid:
            return None
        noise = np.random.default_rng(0).normal(size=(1, 3, *image_size)).astype(np.float32)
        images = paddle.to_tensor(noise)
        tried = [0, self.patches.count // 2, self.patches.count - 1]
        with evaluation_mode(network), paddle.no_grad():
            own = self.patches.cut(images)[tried]
            whole, kernel = self._feature_map(images), self._feature_map(own).shape[2:]
            step = [
                (places - window) // (patches - 1)
                for places, window, patches in zip(whole.shape[2:], kernel, self.grid, strict=True)
            ]
            if min(step) < 1:
                return None
            pooled = F.avg_pool2d(whole, kernel, stride=step)
            if tuple(pooled.shape[2:]) != self.grid:
                return None
            found = pooled.flatten(2)[0].transpose([1, 0])[tried]
            difference = (found - self._embed(own)).abs().max()
        return (
            (list(kernel), step)
            if float(difference) <= TOLERANCE * float(found.abs().max())
            else None
        )
