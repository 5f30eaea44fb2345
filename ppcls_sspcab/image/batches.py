"""From pictures to records, batch by batch: read ahead, judged together, failures kept apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import numpy as np

from ppcls_sspcab.image.decode import ImageError, Source, name_of
from ppcls_sspcab.image.sources import as_pictures
from ppcls_sspcab.result import Failure, Result

S = TypeVar("S")
T = TypeVar("T")
Record = Result | Failure


def judge_pictures(
    pictures: Source | Iterable[Source],
    batch_size: int,
    load: Callable[[Source], np.ndarray],
    judge: Callable[[Sequence[str], np.ndarray], Sequence[Record]],
) -> Iterator[Record]:
    """One record a picture, in order; a :class:`Failure` for one that cannot be read.

    Args:
        pictures: paths, bytes of files, or pixels, or a single one of them, see
            :func:`as_pictures`; taken one batch ahead.
        batch_size: pictures judged at once, >= 1.
        load: makes uint8 [h, w, 3] of a source; raises ImageError.
        judge: makes N records of N names and pictures, uint8 [N, h, w, 3], N >= 1.

    Raises:
        ValueError: a ``batch_size`` below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")

    def read(batch: Sequence[Source]) -> list[np.ndarray | ImageError]:
        return [_loaded(source, load) for source in batch]

    for batch, loaded in read_ahead(batches(as_pictures(pictures), batch_size), read):
        readable = [not isinstance(picture, ImageError) for picture in loaded]
        names = [name_of(source) for source, good in zip(batch, readable, strict=True) if good]
        pixels = [picture for picture in loaded if not isinstance(picture, ImageError)]
        records = iter(judge(names, np.stack(pixels)) if pixels else ())
        for picture in loaded:
            if isinstance(picture, ImageError):
                yield Failure(picture.name, picture.reason)
            else:
                yield next(records)


def batches(items: Iterable[S], size: int) -> Iterator[list[S]]:
    """``items`` in lists of ``size``; the last may be shorter."""
    waiting = iter(items)
    while batch := list(islice(waiting, size)):
        yield batch


def read_ahead(items: Iterable[S], read: Callable[[S], T]) -> Iterator[tuple[S, T]]:
    """Each item with ``read(item)``, the next one being read meanwhile in a thread."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        waiting: tuple[S, Future[T]] | None = None
        for item in items:
            following = item, reader.submit(read, item)
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = following
        if waiting is not None:
            yield waiting[0], waiting[1].result()


def _loaded(source: Source, load: Callable[[Source], np.ndarray]) -> np.ndarray | ImageError:
    try:
        return load(source)
    except ImageError as error:
        return error
