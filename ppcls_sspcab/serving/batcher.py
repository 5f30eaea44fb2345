"""Pictures of several requests, run through one network together."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")


class QueueFull(Exception):
    """No more pictures are taken until some are answered."""


class RunFailed(Exception):
    """The network did not judge the pictures that it was given; the message says why."""


@dataclass(frozen=True)
class Ran(Generic[T]):
    """What a run gave for one picture.

    Attributes:
        value: of the ``run`` function.
        queue_ms: from :meth:`Batcher.put` to the start of the run, in milliseconds.
        run_ms: the run's time, of all its pictures together.
    """

    value: T
    queue_ms: float
    run_ms: float


@dataclass(frozen=True)
class _Waiting(Generic[T]):
    pixels: np.ndarray
    future: Future[Ran[T]] = field(default_factory=Future)
    since: float = field(default_factory=time.perf_counter)


class Batcher(Generic[T]):
    """A bounded queue before a function of batches, with a thread that runs it.

    A picture's place is reserved before it is decoded, so that what waits, decoded or not, is
    bounded. A batch is run as soon as it is full, or no reserved picture is still to come, or its
    first picture has waited ``wait_seconds``: a single caller never waits for others.

    Args:
        run: from N pictures, uint8 [N, h, w, 3], to N values; called by one thread alone.
        batch: most pictures run together, >= 1.
        wait_seconds: how long a picture waits for others that are being decoded.
        capacity: most pictures reserved at once, >= 1.
    """

    def __init__(
        self,
        run: Callable[[np.ndarray], Sequence[T]],
        batch: int = 8,
        wait_seconds: float = 0.01,
        capacity: int = 256,
    ) -> None:
        self._run, self._batch, self._wait = run, batch, wait_seconds
        self.capacity = capacity
        self._changed = threading.Condition()
        self._queue: deque[_Waiting[T]] = deque()
        self._reserved = 0
        self._coming = 0
        self._closed = False
        self._failed = False
        self._thread = threading.Thread(target=self._work, name="network", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """How many pictures are reserved, waiting or running."""
        return self._reserved

    @property
    def healthy(self) -> bool:
        """Whether the thread lives and its last run did not fail."""
        return self._thread.is_alive() and not self._failed

    @contextmanager
    def reserved(self, count: int) -> Iterator[Places[T]]:
        """Places for ``count`` pictures, free again at the block's end.

        Raises:
            QueueFull: there are not so many left, or the batcher is closed.
        """
        with self._changed:
            if self._closed or self._reserved + count > self.capacity:
                raise QueueFull
            self._reserved += count
            self._coming += count
        places = Places(self, count)
        try:
            yield places
        finally:
            places.give_up()
            with self._changed:
                self._reserved -= count

    def close(self) -> None:
        """Runs what was put, then ends; nothing is taken any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _put(self, pixels: np.ndarray) -> Future[Ran[T]]:
        waiting: _Waiting[T] = _Waiting(pixels)
        with self._changed:
            self._coming -= 1
            if self._closed:
                raise QueueFull
            self._queue.append(waiting)
            self._changed.notify_all()
        return waiting.future

    def _come_no_more(self, count: int) -> None:
        with self._changed:
            self._coming -= count
            self._changed.notify_all()

    def _work(self) -> None:
        while batch := self._next():
            start = time.perf_counter()
            try:
                values = self._run(np.stack([one.pixels for one in batch]))
                run_ms = 1000 * (time.perf_counter() - start)
                for one, value in zip(batch, values, strict=True):
                    _resolve(one.future, Ran(value, 1000 * (start - one.since), run_ms))
                self._failed = False
            except Exception as error:  # the runtimes raise nearly every built-in type
                self._failed = True
                failed = RunFailed(f"the network failed: {' '.join(str(error).split())}")
                failed.__cause__ = error
                for one in batch:
                    _fail(one.future, failed)

    def _next(self) -> list[_Waiting[T]]:
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            while self._queue and len(self._queue) < self._batch and self._coming > 0:
                left = self._queue[0].since + self._wait - time.perf_counter()
                if left <= 0 or self._closed:
                    break
                self._changed.wait(left)
            return [self._queue.popleft() for _ in range(min(self._batch, len(self._queue)))]


class Places(Generic[T]):
    """Reserved places of a :class:`Batcher`."""

    def __init__(self, batcher: Batcher[T], count: int) -> None:
        self._batcher, self._left = batcher, count

    def put(self, pixels: np.ndarray) -> Future[Ran[T]]:
        """Queues one picture, uint8 [h, w, 3].

        Raises:
            QueueFull: the batcher was closed meanwhile.
        """
        self._left -= 1
        return self._batcher._put(pixels)

    def skip(self) -> None:
        """One of the pictures will not come."""
        self._left -= 1
        self._batcher._come_no_more(1)

    def give_up(self) -> None:
        """None of the pictures that have not come will."""
        left, self._left = self._left, 0
        if left:
            self._batcher._come_no_more(left)


def _resolve(future: Future[T], value: T) -> None:
    if future.set_running_or_notify_cancel():
        future.set_result(value)


def _fail(future: Future[T], error: Exception) -> None:
    if not future.done() and future.set_running_or_notify_cancel():
        future.set_exception(error)
