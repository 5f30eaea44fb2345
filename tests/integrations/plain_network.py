"""A plug-in network without normalisation: its gradients are those of the whole batch."""

from __future__ import annotations

from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppcls_sspcab.registry import BACKBONES, HEADS


class _Plain(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.num_features = 16
        self.conv1 = nn.Conv2D(3, 16, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2D(16, 16, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2D(16, 16, 3, padding=1)
        self.conv4 = nn.Conv2D(16, 16, 3, padding=1)

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            images = F.relu(conv(images))
        return images


@BACKBONES.register
def PlainBackbone(pretrained: bool = False, **kwargs: Any) -> nn.Layer:
    return _Plain(**kwargs)


@HEADS.register
class PlainHead(nn.Linear):
    def __init__(self, embedding_size: int, class_num: int) -> None:
        super().__init__(embedding_size, class_num)
