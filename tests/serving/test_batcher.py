"""Pictures of several callers in one run, and a queue with an end."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ppcls_sspcab.serving.batcher import Batcher, QueueFull, RunFailed

ONE = np.zeros((2, 3, 3), np.uint8)


def brightness(pixels: np.ndarray) -> list[int]:
    return [int(one.max()) for one in pixels]


def ask(batcher: Batcher[int], value: int) -> int:
    with batcher.reserved(1) as places:
        return places.put(ONE + np.uint8(value)).result(10).value


def test_each_caller_gets_its_own_answer() -> None:
    batcher = Batcher(brightness, batch=4)
    with ThreadPoolExecutor(16) as callers:
        values = list(range(200))
        assert list(callers.map(lambda value: ask(batcher, value), values)) == values
    batcher.close()
    assert batcher.depth == 0


def test_a_single_caller_does_not_wait_for_others() -> None:
    batcher = Batcher(brightness, batch=8, wait_seconds=5)
    start = time.monotonic()
    assert ask(batcher, 7) == 7
    assert time.monotonic() - start < 4
    batcher.close()


def test_pictures_that_are_still_decoded_are_waited_for_but_not_for_long() -> None:
    sizes: list[int] = []

    def run(pixels: np.ndarray) -> list[int]:
        sizes.append(len(pixels))
        return brightness(pixels)

    batcher = Batcher(run, batch=8, wait_seconds=1.0)
    with batcher.reserved(3) as places:
        first, second = places.put(ONE), places.put(ONE)
        third = places.put(ONE)
        assert [one.result(10).value for one in (first, second, third)] == [0, 0, 0]
    assert sizes == [3]
    with batcher.reserved(2) as places:
        start = time.monotonic()
        places.put(ONE).result(10)
        assert 0.9 < time.monotonic() - start < 5
        assert places.put(ONE).result(10).queue_ms < 900
    with batcher.reserved(2) as places:
        start = time.monotonic()
        first = places.put(ONE)
        places.skip()
        first.result(10)
        assert time.monotonic() - start < 0.9
    assert sizes == [3, 1, 1, 1]
    batcher.close()


def test_no_batch_is_larger_than_was_asked_for() -> None:
    sizes: list[int] = []
    go = threading.Event()

    def run(pixels: np.ndarray) -> list[int]:
        go.wait(10)
        sizes.append(len(pixels))
        return brightness(pixels)

    batcher = Batcher(run, batch=4)
    with batcher.reserved(10) as places:
        futures = [places.put(ONE) for _ in range(10)]
        go.set()
        for future in futures:
            future.result(10)
    assert sum(sizes) == 10
    assert max(sizes) == 4
    batcher.close()


def test_beyond_the_capacity_nothing_is_taken_and_places_come_back() -> None:
    batcher = Batcher(brightness, capacity=3)
    with batcher.reserved(3):
        with pytest.raises(QueueFull), batcher.reserved(1):
            pass
        assert batcher.depth == 3
    with batcher.reserved(3):
        pass
    with pytest.raises(QueueFull), batcher.reserved(4):
        pass
    batcher.close()


def test_a_failed_run_fails_its_pictures_alone_and_is_remembered_until_one_succeeds() -> None:
    broken = True

    def run(pixels: np.ndarray) -> list[int]:
        if broken:
            raise MemoryError("too\nlarge")
        return brightness(pixels)

    batcher = Batcher(run)
    with pytest.raises(RunFailed, match="the network failed: too large"):
        ask(batcher, 1)
    assert not batcher.healthy
    broken = False
    assert ask(batcher, 1) == 1
    assert batcher.healthy
    batcher.close()


def test_closing_answers_what_was_taken_and_takes_no_more() -> None:
    go = threading.Event()

    def run(pixels: np.ndarray) -> list[int]:
        go.wait(10)
        return brightness(pixels)

    batcher = Batcher(run, batch=1)
    with batcher.reserved(3) as places:
        futures = [places.put(ONE), places.put(ONE)]
        closing = threading.Thread(target=batcher.close)
        closing.start()
        while not batcher._closed:
            time.sleep(0.01)
        with pytest.raises(QueueFull):
            places.put(ONE)
        go.set()
        assert [future.result(10).value for future in futures] == [0, 0]
    closing.join(10)
    with pytest.raises(QueueFull), batcher.reserved(1):
        pass
