"""The network of a detector through oneDNN."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import paddle
from paddle import nn

from ppcls_sspcab.arch.onednn import OneDNNLayer
from ppcls_sspcab.detector.run import Scorer, Tensors
from ppcls_sspcab.utils.logger import get_logger


class _Features(nn.Layer):
    """The part of a detector that runs its network, with outputs in a fixed order."""

    def __init__(self, detector: Scorer) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: paddle.Tensor) -> tuple[paddle.Tensor, ...]:
        found = self.detector.features(images)
        return tuple(found[name] for name in sorted(found))


@contextmanager
def accelerated(detector: Scorer) -> Iterator[None]:
    """On a CPU, the detector's network runs by oneDNN inside the block; a GPU needs no help."""
    if not paddle.device.get_device().startswith("cpu"):
        yield
        return
    try:
        run = OneDNNLayer(_Features(detector), detector.image_size)
    except OSError as error:  # no temporary folder, or a full one
        get_logger().warning(f"the network runs without oneDNN, several times slower: {error}")
        yield
        return
    names = sorted(detector.feature_names)

    def features(images: paddle.Tensor) -> Tensors:
        return dict(zip(names, run(images), strict=True))

    with detector.features_by(features):
        yield
