"""Cross entropy over the pretext classes (CutPaste, Li et al., CVPR 2021, equation 1)."""

from __future__ import annotations

from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppcls_sspcab.registry import LOSSES


@LOSSES.register
class CELoss(nn.Layer):
    """Mean over the batch of ``-log softmax(logits)[label]``.

    Labels are always class numbers. PaddleClas's loss of this name takes them for probabilities
    when there are as many columns as classes, which three views of three classes run into.
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, output: dict[str, Any], label: paddle.Tensor) -> dict[str, paddle.Tensor]:
        """
        Args:
            output: ``logits``, float [N, K].
            label: int64 [N, 1] or [N], values 0 to K - 1.

        Returns:
            ``{"CELoss": scalar}``.

        Raises:
            ValueError: the labels are not one for each row of logits.
        """
        logits = output["logits"]
        if list(label.shape[1:]) not in ([], [1]):
            raise ValueError(f"labels are [N, 1] class numbers, not of shape {list(label.shape)}")
        loss = F.cross_entropy(logits, label.reshape([-1, 1]), soft_label=False)
        return {"CELoss": loss}
