"""The loss of the SSPCAB block itself (Ristea et al., CVPR 2022, section 3.3)."""

from __future__ import annotations

from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.registry import LOSSES


@LOSSES.register
class SSPCABLoss(nn.Layer):
    """Mean squared difference between a block's output and its input; mean over several blocks.

    Args:
        detach_target: no gradient into the layers before the block by way of the target. The
            paper lets it flow.
    """

    def __init__(self, detach_target: bool = False) -> None:
        super().__init__()
        self.detach_target = detach_target

    def forward(
        self, output: dict[str, Any], label: paddle.Tensor | None = None
    ) -> dict[str, paddle.Tensor]:
        """
        Args:
            output: ``sspcab``, a list of pairs (block input, block output), float [N, C, h, w].
            label: not used.

        Returns:
            ``{"SSPCABLoss": scalar}``.

        Raises:
            ConfigError: the network has no block.
        """
        pairs = output.get("sspcab")
        if not pairs:
            raise ConfigError(
                "Loss",
                "SSPCABLoss needs a network with a block; set Arch.Block, or take SSPCABLoss out",
            )
        losses = [
            F.mse_loss(predicted, source.detach() if self.detach_target else source)
            for source, predicted in pairs
        ]
        return {"SSPCABLoss": sum(losses[1:], losses[0]) / len(losses)}
