"""The SSPCAB block's own error as an image score (Ristea et al., CVPR 2022, section 3.3)."""

from __future__ import annotations

import paddle
from paddle import nn

from ppcls_sspcab.detector.localize.sspcab_error import block_error
from ppcls_sspcab.detector.scores.base import Features, ImageScore
from ppcls_sspcab.detector.scores.map_max import mean_of_largest
from ppcls_sspcab.registry import IMAGE_SCORES


@IMAGE_SCORES.register_as("sspcab_error")
class SSPCABErrorScore(ImageScore):
    """The largest ``|output - input|`` of the last block's cells, mean over its channels.

    Args:
        top: the score is the mean of so many of the largest cells.

    Raises:
        ValueError: a network without a block, or a number below 1.
    """

    needs = ("block_input", "block_output")

    def __init__(self, network: nn.Layer, top: int = 1) -> None:
        if not getattr(network, "blocks", None):
            raise ValueError("sspcab_error needs a network with a block: set Arch.Block")
        if top < 1:
            raise ValueError(f"top must be at least 1, not {top}")
        super().__init__()
        self.top = top

    def forward(self, features: Features, anomaly_map: paddle.Tensor | None) -> paddle.Tensor:
        return mean_of_largest(block_error(features), self.top)
