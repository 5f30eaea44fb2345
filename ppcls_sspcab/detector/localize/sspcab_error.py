"""The SSPCAB block's own error of prediction (Ristea et al., CVPR 2022, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn

from ppcls_sspcab.detector.localize.base import DEFAULT_SMOOTHING, Features, Localizer
from ppcls_sspcab.registry import LOCALIZERS


@LOCALIZERS.register
class SSPCABError(Localizer):
    """``|output - input|`` of the last block, mean over its channels: nothing is fitted.

    A block in the last stage of a ResNet sees a picture of 256 pixels as 8 x 8 cells, so the map
    is coarse; put a block in an earlier stage (``Arch.Block.replace``) for a finer one.

    Args:
        smoothing: standard deviation of the upsampling's Gaussian, as a share of the shorter side.

    Raises:
        ValueError: a network without a block.
    """

    needs = ("block_input", "block_output")

    def __init__(
        self, network: nn.Layer, image_size: Sequence[int], smoothing: float = DEFAULT_SMOOTHING
    ) -> None:
        if not getattr(network, "blocks", None):
            raise ValueError("SSPCABError needs a network with a block: set Arch.Block")
        super().__init__(network, image_size, smoothing)

    def cells(self, features: Features) -> paddle.Tensor:
        return block_error(features).unsqueeze(1)

    def distances(self, cells: paddle.Tensor) -> paddle.Tensor:
        return cells[:, 0]


def block_error(features: Features) -> paddle.Tensor:
    """``|block_output - block_input|`` [N, C, h, w], the mean over its channels: [N, h, w]."""
    return (features["block_output"] - features["block_input"]).abs().mean(axis=1)
