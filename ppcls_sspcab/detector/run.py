"""Running batches of pictures through a detector."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
import paddle

Outputs = dict[str, np.ndarray]
Tensors = dict[str, paddle.Tensor]


class Scorer(Protocol):
    """What running pictures needs of a :class:`~ppcls_sspcab.detector.detector.Detector`.

    The Detector itself cannot be named here: its own ``predict`` runs through this file.
    """

    image_size: tuple[int, int]

    def __call__(self, images: paddle.Tensor) -> Tensors: ...

    def features(self, images: paddle.Tensor) -> Tensors: ...

    def run_network(self, images: paddle.Tensor) -> Tensors: ...

    def features_by(
        self, features: Callable[[paddle.Tensor], Tensors]
    ) -> AbstractContextManager[None]: ...

    @property
    def feature_names(self) -> list[str]: ...

    @property
    def pictures_at_once(self) -> int: ...


def detect(detector: Scorer, images: np.ndarray) -> Outputs:
    """``Detector.forward`` of one batch, float32 [N, 3, H, W], as numpy arrays."""
    return _in_parts(detector, detector, images)


def read_features(detector: Scorer, images: np.ndarray) -> Outputs:
    """``Detector.features`` of one batch, float32 [N, 3, H, W], as numpy arrays."""
    return _in_parts(detector.run_network, detector, images)


@paddle.no_grad()
def _in_parts(
    run: Callable[[paddle.Tensor], Mapping[str, paddle.Tensor]],
    detector: Scorer,
    images: np.ndarray,
) -> Outputs:
    """``run`` of ``detector.pictures_at_once`` pictures at a time, joined."""
    size = detector.pictures_at_once
    parts = np.split(images, range(size, len(images), size))
    return gather(
        {name: value.numpy() for name, value in run(paddle.to_tensor(part)).items()}
        for part in parts
    )


def gather(outputs: Iterable[Outputs]) -> Outputs:
    """The outputs of all batches as one array each."""
    parts = list(outputs)
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
