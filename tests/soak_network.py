"""A backbone for the soak: big enough that a kill can hit a write, small enough for seconds."""

from __future__ import annotations

import paddle
from paddle import nn

from ppcls_sspcab.registry import BACKBONES


class _SoakNetwork(nn.Layer):
    num_features = 256
    default_replace = "conv3"

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2D(3, 32, 3, 2, 1), nn.BatchNorm2D(32)
        self.conv2, self.bn2 = nn.Conv2D(32, 256, 3, 4, 1), nn.BatchNorm2D(256)
        self.conv3, self.bn3 = nn.Conv2D(256, 256, 3, 1, 1), nn.BatchNorm2D(256)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = nn.functional.relu(norm(conv(x)))
        return x


@BACKBONES.register
def soak_network(pretrained: bool | str = False) -> nn.Layer:
    """Always from scratch."""
    return _SoakNetwork()
