"""Training and evaluation mode of layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from paddle import nn


@contextmanager
def evaluation_mode(layer: nn.Layer) -> Iterator[None]:
    """Inside the block a layer and all in it evaluate; afterwards each has its own mode again."""
    modes = {part: part.training for part in layer.sublayers(include_self=True)}
    layer.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training
