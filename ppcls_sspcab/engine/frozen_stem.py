"""The frozen leading layers of a backbone, run by oneDNN while training."""

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
        backbone: its direct sublayers up to the last frozen one must follow each other.
        frozen: the frozen layers.
        image_size: (H, W) of the pictures.
    """

    def __init__(
        self, backbone: nn.Layer, frozen: list[nn.Layer], image_size: Sequence[int]
    ) -> None:
        self._backbone = backbone
        children = dict(backbone.named_children())
        last = max(i for i, child in enumerate(children.values()) if child in frozen)
        self._names = list(children)[: last + 1]
        stem = nn.Sequential(*(children[name] for name in self._names))
        self._run = OneDNNLayer(stem, image_size)

    @classmethod
    def of(cls, network: nn.Layer, image_size: Sequence[int]) -> FrozenStem | None:
        """The stem of a network on a CPU; None where there is none that can be cut off."""
        frozen = getattr(network, "frozen_for_good", [])
        children = list(network.backbone.children())
        places = [i for i, child in enumerate(children) if child in frozen]
        if not places or not paddle.device.get_device().startswith("cpu"):
            return None
        leading = children[: places[-1] + 1]
        if any(child not in frozen and child.parameters() for child in leading):
            return None
        stem = cls(network.backbone, frozen, image_size)
        return stem if stem.is_equal(image_size) else None

    def __call__(self, images: paddle.Tensor) -> paddle.Tensor:
        """float32 [N, 3, H, W] to the feature map behind the last frozen layer."""
        return self._run(images)[0]

    @contextmanager
    def skipped(self) -> Iterator[None]:
        """Inside the block the backbone takes the stem's output in place of pictures."""
        layers = self._backbone._sub_layers
        own = {name: layers[name] for name in self._names}
        layers.update({name: nn.Identity() for name in self._names})
        try:
            yield
        finally:
            layers.update(own)

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
