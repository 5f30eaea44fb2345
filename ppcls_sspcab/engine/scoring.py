"""Running pictures through the Detector in batches; decoding goes on while the network works."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import paddle
from paddle import nn
from tqdm import tqdm

from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.detector import Detector
from ppcls_sspcab.runtime.image import Preprocess

T = TypeVar("T")


def read_ahead(batches: Sequence[Sequence[Any]], read: Callable[[Sequence[Any]], T]) -> Iterator[T]:
    """``read(batch)`` for each batch in turn, the next one being read meanwhile in a thread."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        waiting: Future[T] | None = None
        for batch in batches:
            following = reader.submit(read, batch)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()


def chunks(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """``items`` cut into pieces of ``size``; the last may be shorter."""
    return [items[start : start + size] for start in range(0, len(items), size)]


@paddle.no_grad()
def detect(detector: nn.Layer, images: np.ndarray) -> dict[str, np.ndarray]:
    """``Detector.forward`` of one batch, float32 [N, 3, H, W], as numpy arrays."""
    return {name: value.numpy() for name, value in detector(paddle.to_tensor(images)).items()}


def detect_store(
    detector: Detector, store: ImageStore, preprocess: Preprocess, batch_size: int, title: str
) -> dict[str, np.ndarray]:
    """``Detector.forward`` of all pictures of a store, in order; one array an output."""

    def read(indices: Sequence[int]) -> np.ndarray:
        return preprocess.normalize(np.stack([store[index] for index in indices]))

    outputs: list[dict[str, np.ndarray]] = []
    batches = chunks(range(len(store)), batch_size)
    with tqdm(total=len(store), desc=title, unit="pictures", disable=None, leave=False) as bar:
        for images in read_ahead(batches, read):
            outputs.append(detect(detector, images))
            bar.update(len(images))
    return {name: np.concatenate([output[name] for output in outputs]) for name in outputs[0]}
