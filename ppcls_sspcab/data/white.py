"""The white level of pictures of more than 8 bits, by the good pictures of a data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ppcls_sspcab.data.samples import Sample
from ppcls_sspcab.data.split import evenly_spread
from ppcls_sspcab.image.decode import FULL_WHITE, ImageError, White, brightest
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.utils.logger import get_logger
from ppcls_sspcab.utils.machine import cpu_threads

MOST_READ = 256  # good pictures that are looked at
BITS = (8, 10, 12, 14)  # of cameras, less than what 16-bit files hold


def settled(preprocess: Preprocess, good: Sequence[Sample]) -> Preprocess:
    """The contract with its white level found, if it is ``auto`` and there is one to find.

    Args:
        good: pictures to train on; up to 256 of them, evenly spread, are looked at.
    """
    if preprocess.white != "auto":
        return preprocess
    paths = [good[index].path for index in evenly_spread(len(good), MOST_READ)]
    with ThreadPoolExecutor(cpu_threads()) as pool:
        found = [value for value in pool.map(_brightest, paths) if value is not None]
    if not found:
        return preprocess
    white = white_of(max(found))
    get_logger().info(
        f"pictures of more than 8 bits, with values up to {max(found)}: the white level is "
        f"{FULL_WHITE if white == 'full' else white} (Preprocess.white)"
    )
    return dataclasses.replace(preprocess, white=white)


def white_of(value: int) -> White:
    """The largest value of the fewest bits that hold ``value``."""
    return next((2**bits - 1 for bits in BITS if value < 2**bits), "full")


def _brightest(path: str) -> int | None:
    try:
        return brightest(path)
    except ImageError:  # named when it is read
        return None
