"""Exponential moving average of a network's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import paddle
from paddle import nn


class ExponentialMovingAverage:
    """Keeps ``shadow = decay * shadow + (1 - decay) * weight`` for every floating-point tensor.

    Buffers (BN statistics) are averaged like parameters.

    Args:
        network: the network that is trained.
        decay: in (0, 1).
    """

    def __init__(self, network: nn.Layer, decay: float) -> None:
        self.decay = decay
        self._network = network
        self.shadow = {name: value.clone() for name, value in self._weights().items()}

    @paddle.no_grad()
    def update(self) -> None:
        """Call after each optimizer step."""
        for name, value in self._weights().items():
            average = self.shadow[name]
            average.set_value(self.decay * average + (1.0 - self.decay) * value)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The network has the averaged weights inside the block, its own again after it."""
        own = {name: value.clone() for name, value in self._weights().items()}
        self._set(self.shadow)
        try:
            yield
        finally:
            self._set(own)

    def apply(self) -> None:
        """Gives the network the averaged weights for good."""
        self._set(self.shadow)

    def _set(self, values: dict[str, paddle.Tensor]) -> None:
        for name, value in self._weights().items():
            value.set_value(values[name])

    def _weights(self) -> dict[str, paddle.Tensor]:
        return {
            name: value
            for name, value in self._network.state_dict().items()
            if value.dtype in (paddle.float32, paddle.float64)
        }
