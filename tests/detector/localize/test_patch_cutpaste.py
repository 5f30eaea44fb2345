"""PatchCutPaste against patches that were cut, embedded and scored one by one."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import nn
from sklearn.covariance import LedoitWolf

from ppcls_sspcab.detector.localize.patch_cutpaste import PatchCutPaste
from ppcls_sspcab.detector.localize.projection import orthogonal
from ppcls_sspcab.errors import ConfigError, ModelError
from ppcls_sspcab.registry import ARCHITECTURES, LOCALIZERS

ARCH = {"name": "CutPasteNet", "Backbone": {"name": "resnet18"}}
SIZE = (48, 64)


class Valid(nn.Layer):
    """Convolutions without padding, of stride 4 together."""

    embedding_size = 12

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2D(3, 8, 3, stride=2), nn.BatchNorm2D(8), nn.ReLU(), nn.Conv2D(8, 12, 3, 2)
        )

    def feature_map(self, images: paddle.Tensor) -> paddle.Tensor:
        return self.layers(images)

    def embed(self, images: paddle.Tensor) -> paddle.Tensor:
        return self.feature_map(images).mean(axis=[2, 3])


def resnet() -> nn.Layer:
    paddle.seed(0)
    network = ARCHITECTURES.build(ARCH, "Arch")
    network.eval()
    return network


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, 3, *SIZE)).astype(np.float32)


def cells(localizer: PatchCutPaste, images: np.ndarray) -> np.ndarray:
    with paddle.no_grad():
        return localizer.cells({"images": paddle.to_tensor(images)}).numpy()


def one_by_one(network: nn.Layer, images: np.ndarray, size: int, stride: int) -> np.ndarray:
    """Embeddings [N, h, w, D] of patches that were cut with numpy."""
    rows = range(0, SIZE[0] - size + 1, stride)
    columns = range(0, SIZE[1] - size + 1, stride)
    found = [
        network.embed(paddle.to_tensor(image[None, :, r : r + size, c : c + size])).numpy()[0]
        for image in images
        for r in rows
        for c in columns
    ]
    return np.stack(found).reshape(len(images), len(rows), len(columns), -1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["padded", "valid"])
def test_cells_are_the_projected_directions_of_the_patches(kind: str) -> None:
    network = resnet() if kind == "padded" else Valid()
    network.eval()
    localizer = PatchCutPaste(network, SIZE, patch_size=32, stride=8, channels=10)
    # A padded network must see each patch by itself; the other is run once over the picture.
    assert (localizer.window is None) == (kind == "padded")
    assert (localizer.input_pixels > 0) == (kind == "padded")
    images = pictures(2)
    with paddle.no_grad():
        embeddings = one_by_one(network, images, 32, 8)
    directions = embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)
    expected = directions @ orthogonal(embeddings.shape[-1], 10)
    found = cells(localizer, images).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_a_stride_the_network_cannot_follow_runs_patches_by_themselves() -> None:
    network = Valid()
    network.eval()
    assert PatchCutPaste(network, SIZE, patch_size=32, stride=6, channels=4).window is None


def test_distances_are_mahalanobis_under_one_gaussian_for_all_patches() -> None:
    network = Valid()
    network.eval()
    localizer = PatchCutPaste(network, SIZE, patch_size=32, stride=8, channels=6)
    found = cells(localizer, pictures(12))
    localizer.fit_batches([found])
    points = found.transpose(0, 2, 3, 1).reshape(-1, 6).astype(float)
    estimate = LedoitWolf().fit(points)
    centred = points - estimate.location_
    expected = np.sqrt(np.sum(centred @ np.linalg.inv(estimate.covariance_) * centred, axis=1))
    distances = localizer.distances(paddle.to_tensor(found)).numpy()
    np.testing.assert_allclose(distances.ravel(), expected, rtol=1e-2)


def test_the_map_peaks_on_the_defect() -> None:
    paddle.seed(1)  # of some networks without training it peaks at the defect's edge
    network = Valid()
    network.eval()
    localizer = PatchCutPaste(network, SIZE, patch_size=16, stride=4, channels=8)
    localizer.fit_batches([cells(localizer, pictures(8))])
    images = pictures(1)
    images[0, :, 20:32, 40:52] = 3.0
    anomaly_map = localizer(paddle.to_tensor(cells(localizer, images))).numpy()[0]
    row, column = np.unravel_index(anomaly_map.argmax(), SIZE)
    assert anomaly_map.shape == SIZE
    assert 18 <= row <= 34
    assert 38 <= column <= 54


def test_wrong_settings_and_cells_are_refused() -> None:
    network = Valid()
    with pytest.raises(ConfigError, match=r"Localize.*a patch of 64x64 does not fit"):
        LOCALIZERS.build({"name": "PatchCutPaste"}, "Localize", network=network, image_size=SIZE)
    with pytest.raises(ValueError, match=r"channels must lie in 1\.\.12"):
        PatchCutPaste(network, SIZE, patch_size=32)
    localizer = PatchCutPaste(network, SIZE, patch_size=32, stride=8, channels=6)
    good = cells(localizer, pictures(2))
    with pytest.raises(ModelError, match="do not fit"):
        localizer.fit_batches([good[:, :4]])
    with pytest.raises(ModelError, match="not finite"):
        localizer.fit_batches([good * np.float32("nan")])
