"""Faster training on a CPU: frozen layers by oneDNN."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import paddle
from paddle import nn

from ppcls_sspcab.arch.modes import evaluation_mode
from ppcls_sspcab.arch.onednn import OneDNNLayer

# What oneDNN may change in a feature, as a part of the largest one.
_TOLERANCE = 1e-3


class FrozenStem:
    """The leading layers of a backbone that are frozen for good, run by oneDNN while training.

    Args:
        backbone: its first ``count`` direct sublayers must follow each other.
        count: number of the leading layers.
        image_size: (H, W) of the pictures.
    """

    def __init__(self, backbone: nn.Layer, count: int, image_size: Sequence[int]) -> None:
        self._backbone = backbone
        self._leading = dict(list(backbone.named_children())[:count])
        self._run = OneDNNLayer(nn.Sequential(*self._leading.values()), image_size)

    @classmethod
    def of(cls, network: nn.Layer, image_size: Sequence[int]) -> FrozenStem | None:
        """The stem of a network on a CPU; None where there is none that can be cut off."""
        frozen = getattr(network, "frozen_for_good", [])
        children = list(network.backbone.children())
        places = [i for i, child in enumerate(children) if child in frozen]
        if not places or not paddle.device.get_device().startswith("cpu"):
            return None
        count = places[-1] + 1
        if any(child not in frozen and child.parameters() for child in children[:count]):
            return None
        stem = cls(network.backbone, count, image_size)
        return stem if stem.is_equal(image_size) else None

    def __call__(self, images: paddle.Tensor) -> paddle.Tensor:
        """float32 [N, 3, H, W] to the feature map behind the last frozen layer."""
        return self._run(images)[0]

    @contextmanager
    def skipped(self) -> Iterator[None]:
        """Inside the block the backbone takes the stem's output in place of pictures."""
        layers = self._backbone._sub_layers
        layers.update({name: nn.Identity() for name in self._leading})
        try:
            yield
        finally:
            layers.update(self._leading)

    def is_equal(self, image_size: Sequence[int]) -> bool:
        """Whether the backbone gives the same with its stem run apart, tried on noise."""
        images = paddle.to_tensor(
            np.random.default_rng(0).normal(size=(1, 3, *image_size)).astype(np.float32)
        )
        with evaluation_mode(self._backbone), paddle.no_grad():
            whole = self._backbone(images)
            with self.skipped():
                apart = self._backbone(self(images))
        if whole.shape != apart.shape:
            return False
        return float((whole - apart).abs().max()) <= _TOLERANCE * float(whole.abs().max())
