"""The block's own error as a map."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from ppcls_sspcab.arch.features import FeatureReader
from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.registry import ARCHITECTURES, LOCALIZERS

ARCH = {"name": "CutPasteNet", "Backbone": {"name": "resnet18"}}


def test_it_is_the_mean_absolute_error_of_the_block() -> None:
    paddle.seed(0)
    section = {**ARCH, "Block": {"name": "SSPCAB", "replace": "layer3[1].conv1"}}
    network = ARCHITECTURES.build(section, "Arch")
    network.eval()
    localizer = LOCALIZERS.build(
        {"name": "SSPCABError", "smoothing": 0.0}, "Localize", network=network, image_size=[64, 96]
    )
    assert localizer.grid == (4, 6)
    images = paddle.randn([2, 3, 64, 96])
    with paddle.no_grad():
        features = FeatureReader(network, localizer.needs)(images)
        found = localizer(localizer.cells(features)).numpy()
    block = network.blocks[0]
    error = np.abs(block.last[1].numpy() - block.last[0].numpy()).mean(axis=1)
    assert found.shape == (2, 64, 96)
    # In the middle between four cells, linear interpolation is their mean.
    np.testing.assert_allclose(
        found[:, 15:17, 15:17].mean(axis=(1, 2)), error[:, :2, :2].mean(axis=(1, 2)), rtol=1e-4
    )


def test_a_network_without_a_block_is_refused() -> None:
    network = ARCHITECTURES.build(ARCH, "Arch")
    with pytest.raises(ConfigError, match=r"Arch\.Block"):
        LOCALIZERS.build({"name": "SSPCABError"}, "Localize", network=network, image_size=[64, 64])
