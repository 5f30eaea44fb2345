"""The pixels of a list of samples, decoded once and kept at network size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np

from ppcls_sspcab.data.samples import Sample
from ppcls_sspcab.errors import DataError
from ppcls_sspcab.image.decode import ImageError
from ppcls_sspcab.image.preprocess import Preprocess

LEAST_CONTRAST = 8  # of 255; a picture with less shows nothing


def contrast(image: np.ndarray) -> int:
    """By how much the pixels of uint8 [H, W, 3] differ, in 0..255, in the channel of the most."""
    return int(np.ptp(image.reshape(-1, 3), axis=0).max())


class ImageStore:
    """``store[i]`` is picture ``i`` as uint8 RGB [h, w, 3], decoded and resized.

    The first ``cache_bytes // (3 * h * w)`` pictures stay in memory once they were read; the rest
    is decoded each time. Workers that are forked after :meth:`warm` share the memory.

    Args:
        cache_bytes: the most memory to use, in bytes; 0 keeps nothing.
        on_error: "stop" raises at an unreadable picture; "skip" makes :meth:`warm` read every
            picture once and leave out the unreadable ones.

    Attributes:
        samples: ``store[i]`` shows ``samples[i]``.
        skipped: (path, reason) of each picture that was left out.
        flat: paths of the pictures read by :meth:`warm` that are nearly of one colour.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        preprocess: Preprocess,
        cache_bytes: int,
        on_error: Literal["stop", "skip"] = "stop",
    ) -> None:
        if cache_bytes < 0:
            raise ValueError(f"cache_bytes must not be negative, not {cache_bytes}")
        if on_error not in ("stop", "skip"):
            raise ValueError(f"on_error must be 'stop' or 'skip', not {on_error!r}")
        height, width = preprocess.image_size
        kept = min(len(samples), cache_bytes // (3 * height * width))
        self.samples = list(samples)
        self.preprocess = preprocess
        self.on_error = on_error
        self.skipped: list[tuple[str, str]] = []
        self.flat: list[str] = []
        self._cache = np.empty((kept, height, width, 3), np.uint8)
        self._ready = np.zeros(kept, bool)
        self._slots = list(range(len(samples)))  # slots from len(cache) on are not kept

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def contents(self) -> list[str]:
        """The content of each sample."""
        return [sample.content for sample in self.samples]

    def __getitem__(self, index: int) -> np.ndarray:
        """Picture ``index`` as uint8 [h, w, 3]; read-only where it is kept.

        Raises:
            ImageError: the file cannot be read.
        """
        slot = self._slots[index]
        if slot >= len(self._cache):
            return self.preprocess.load(self.samples[index].path)
        if not self._ready[slot]:
            self._cache[slot] = self.preprocess.load(self.samples[index].path)
            self._ready[slot] = True
        image = self._cache[slot]
        image.flags.writeable = False
        return image

    def warm(self, threads: int, progress: Callable[[int], object] | None = None) -> None:
        """Reads pictures in ``threads`` threads: those that are kept, or all with "skip".

        Args:
            progress: called with 1 after each picture, as ``tqdm.update`` is.

        Raises:
            DataError: an unreadable picture (ImageError), or with "skip" not one readable.
        """
        count = len(self) if self.on_error == "skip" else len(self._cache)
        bad: dict[int, str] = {}
        with ThreadPoolExecutor(threads) as pool:
            try:
                for index, reason in enumerate(pool.map(self._read, range(count))):
                    if reason is not None:
                        bad[index] = reason
                    if progress is not None:
                        progress(1)
            except ImageError:
                pool.shutdown(cancel_futures=True)
                raise
        self._leave_out(bad)

    def _read(self, index: int) -> str | None:
        try:
            image = self[index]
        except ImageError as error:
            if self.on_error == "stop":
                raise
            return error.reason
        if contrast(image) < LEAST_CONTRAST:
            self.flat.append(self.samples[index].path)
        return None

    def _leave_out(self, bad: dict[int, str]) -> None:
        self.skipped += [(self.samples[index].path, reason) for index, reason in bad.items()]
        if bad and len(bad) == len(self):
            path, reason = self.skipped[0]
            raise DataError(
                f"none of {len(self)} pictures can be read; the first: {path}: {reason}"
            )
        good = [index for index in range(len(self)) if index not in bad]
        self.samples = [self.samples[index] for index in good]
        self._slots = [self._slots[index] for index in good]
