"""The self-supervised predictive convolutional attentive block (Ristea et al., CVPR 2022)."""

from __future__ import annotations

from typing import Any, Literal

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppcls_sspcab.registry import BLOCKS


class SqueezeExcitation(nn.Layer):
    """Channel attention: ``x * sigmoid(W2 relu(W1 mean(x)))`` (SSPCAB paper, section 3.2).

    Args:
        channels: number of channels C.
        reduction: r; W1 maps C channels to C // r (at least 1), W2 maps them back.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        squeezed = max(channels // reduction, 1)
        self.squeeze = nn.Conv2D(channels, squeezed, 1, bias_attr=False)
        self.excite = nn.Conv2D(squeezed, channels, 1, bias_attr=False)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """float [N, C, h, w] -> float [N, C, h, w]."""
        pooled = x.mean(axis=[2, 3], keepdim=True)
        return x * F.sigmoid(self.excite(F.relu(self.squeeze(pooled))))


@BLOCKS.register
class SSPCAB(nn.Layer):
    """Predicts every place of a feature map from its surroundings only (SSPCAB paper, section 3).

    The masked convolution looks at a field of K = 2k' + 2d + 1 places and has weights in its four
    k' x k' corners alone; the zero-padded map keeps its size. ReLU and channel attention follow.
    The difference between output and input is the block's own loss, see
    :class:`ppcls_sspcab.loss.sspcab_loss.SSPCABLoss`.

    Both forms have the same parameters: ``conv.weight`` [C, 4C, k', k'] holds the corners
    top-left, top-right, bottom-left, bottom-right along its second axis. They are drawn He-normal
    for all four corners together, so that their sum keeps the scale of the map; biases start at 0.

    Args:
        channels: number of channels C of input and output.
        kernel_size: k', side of a corner kernel.
        dilation: d, distance between the corners and the masked centre.
        reduction: r of the squeeze-and-excitation.
        form: how the corners are convolved while training. ``masked`` is one convolution with the
            corners put in their places, ``sliced`` gathers the four shifted maps and convolves
            them once. Null takes the faster: ``masked`` for k' = 1, where it is a 2 x 2 dilated
            convolution without a single zero, ``sliced`` otherwise. Outside training it is
            always ``masked``, whose exported graph has no padding operator.

    Attributes:
        last: (input, output) of the last forward, float [N, C, h, w] each; None before it.

    Raises:
        ValueError: a size out of range.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int = 1,
        dilation: int = 1,
        reduction: int = 8,
        form: Literal["sliced", "masked"] | None = None,
    ) -> None:
        super().__init__()
        for name, value, most in (
            ("channels", channels, 65536),
            ("reduction", reduction, 65536),
            ("kernel_size", kernel_size, 64),
            ("dilation", dilation, 64),
        ):
            if not 1 <= value <= most:
                raise ValueError(f"{name} must be 1 to {most}, not {value}")
        self.channels = channels
        self.kernel_size = kernel_size
        self.padding = kernel_size + dilation
        self.form = form or ("masked" if kernel_size == 1 else "sliced")
        he_normal = nn.initializer.KaimingNormal()
        self.conv = nn.Conv2D(4 * channels, channels, kernel_size, weight_attr=he_normal)
        self.attention = SqueezeExcitation(channels, reduction)
        # A tuple, because Paddle turns a tensor that is set as an attribute into a buffer.
        self.last: tuple[paddle.Tensor | None, paddle.Tensor | None] = (None, None)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """float [N, C, h, w] -> float [N, C, h, w], every value >= 0."""
        sliced = self.training and self.form == "sliced"
        predicted = self._sliced(x) if sliced else self._masked(x)
        output = self.attention(F.relu(predicted))
        self.last = (x, output)
        return output

    def _sliced(self, x: paddle.Tensor) -> paddle.Tensor:
        pad = self.padding
        # All four axes are named: with the two-axis form paddle2onnx leaves the value unset.
        padded = F.pad(x, [0, 0, 0, 0, pad, pad, pad, pad])
        far = 2 * pad + 1 - self.kernel_size
        upper, lower = padded[:, :, :-far], padded[:, :, far:]
        corners = [upper[..., :-far], upper[..., far:], lower[..., :-far], lower[..., far:]]
        return self.conv(paddle.concat(corners, axis=1))

    def _masked(self, x: paddle.Tensor) -> paddle.Tensor:
        channels, side, pad = self.channels, self.kernel_size, self.padding
        corners = self.conv.weight.reshape([channels, 2, 2, channels, side, side])
        # [out, row, column, in, k', k'] -> [out, in, row, k', column, k']
        kernel = corners.transpose([0, 3, 1, 4, 2, 5])
        if side == 1:
            kernel = kernel.reshape([channels, channels, 2, 2])
            return F.conv2d(x, kernel, self.conv.bias, padding=pad, dilation=2 * pad)
        whole = 2 * pad + 1
        gap = whole - 2 * side
        top, bottom = kernel.split(2, axis=2)
        rows = paddle.zeros([channels, channels, 1, gap, 2, side], dtype=kernel.dtype)
        kernel = paddle.concat([top, rows, bottom], axis=3)
        left, right = kernel.split(2, axis=4)
        columns = paddle.zeros([*left.shape[:-1], gap], dtype=kernel.dtype)
        kernel = paddle.concat([left, columns, right], axis=5)
        kernel = kernel.reshape([channels, channels, whole, whole])
        return F.conv2d(x, kernel, self.conv.bias, padding=pad)

    def __getstate__(self) -> dict[str, Any]:
        # Tensors inside a graph cannot be copied; a deep copy starts without a last forward.
        return {**super().__getstate__(), "last": (None, None)}
