"""What the pictures of a category have in common: shapes, colours, and copies of one another."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ppcls_sspcab.data.masks import SHAPE_TOLERANCE
from ppcls_sspcab.data.samples import Sample

SMALL = 16  # side in pixels of what two pictures are compared by
NEARLY = 0.1  # of the median difference of two pictures: nearly the same picture
MOST_COMPARED = 1000  # pictures of train, and of test

GREY_AMONG_COLOUR = "grey pictures among coloured ones"
COLOUR_AMONG_GREY = "coloured pictures among grey ones"
SHAPES = "pictures of another shape than most (all are stretched to one)"
ONLY_TESTED = "sizes of pictures that are tested and never trained on"
TWICE = "pictures that are in train twice"
LEAKED = "test pictures that are in train too: figures will be too good"
NEARLY_LEAKED = "test pictures that nearly equal one in train: figures may be too good"
REMARKS = (
    *(GREY_AMONG_COLOUR, COLOUR_AMONG_GREY, SHAPES, ONLY_TESTED, TWICE, LEAKED, NEARLY_LEAKED),
)
CONTRADICTION = "pictures that are good and bad at once"


@dataclass(frozen=True)
class _Seen:
    """A picture as it is compared: its size, whether it is grey, its hash and a small copy."""

    sample: Sample
    size: tuple[int, int]
    grey: bool
    digest: bytes
    small: np.ndarray


class Comparison:
    """Takes the pictures of a category, then tells what does not go together."""

    def __init__(self) -> None:
        self._seen: list[_Seen] = []

    def add(self, sample: Sample, pixels: np.ndarray) -> None:
        """Takes a picture, uint8 RGB [H, W, 3]; one that shows nothing has no copies."""
        small = Image.fromarray(pixels).resize((SMALL, SMALL), Image.Resampling.BOX)
        self._seen.append(
            _Seen(
                sample,
                (pixels.shape[1], pixels.shape[0]),
                bool((pixels == pixels[..., :1]).all()),
                hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest(),
                np.asarray(small, np.float32).ravel(),
            )
        )

    def remarks(self) -> Iterator[tuple[str, str]]:
        """Kinds of findings, each with the picture, size or pair that it is about."""
        yield from self._colours()
        yield from self._shapes()
        yield from self._copies()

    def _colours(self) -> Iterator[tuple[str, str]]:
        grey = [seen.sample.path for seen in self._seen if seen.grey]
        coloured = [seen.sample.path for seen in self._seen if not seen.grey]
        if grey and coloured:
            fewer = len(grey) <= len(coloured)
            kind = GREY_AMONG_COLOUR if fewer else COLOUR_AMONG_GREY
            yield from ((kind, path) for path in (grey if fewer else coloured))

    def _shapes(self) -> Iterator[tuple[str, str]]:
        sizes = Counter(seen.size for seen in self._seen)
        if not sizes:
            return
        width, height = sizes.most_common(1)[0][0]
        for seen in self._seen:
            ratio = seen.size[0] / seen.size[1] / (width / height)
            if abs(ratio - 1) > SHAPE_TOLERANCE:
                yield SHAPES, f"{seen.sample.path} ({seen.size[0]}x{seen.size[1]})"
        trained = {seen.size for seen in self._seen if seen.sample.split == "train"}
        for size, times in sizes.items():
            if size not in trained:
                yield ONLY_TESTED, f"{size[0]}x{size[1]} ({times})"

    def _copies(self) -> Iterator[tuple[str, str]]:
        first: dict[bytes, Sample] = {}
        rest = []
        for seen in sorted(self._seen, key=lambda seen: seen.sample.split != "train"):
            other = first.setdefault(seen.digest, seen.sample)
            if other is seen.sample:
                rest.append(seen)
            elif other.label != seen.sample.label:
                yield CONTRADICTION, f"{other.path} = {seen.sample.path}"
            elif other.split == "train":
                kind = TWICE if seen.sample.split == "train" else LEAKED
                yield kind, f"{seen.sample.path} = {other.path}"
        yield from _near_copies(rest)


def _near_copies(seen: list[_Seen]) -> Iterator[tuple[str, str]]:
    from scipy.spatial.distance import cdist, pdist

    train, test = (
        [one for one in seen if one.sample.split == split and one.sample.label == 0][:MOST_COMPARED]
        for split in ("train", "test")
    )
    if len(train) < 3 or not test:
        return
    known = np.stack([one.small for one in train])
    usual = float(np.median(pdist(known, "cityblock")))
    distances = cdist(np.stack([one.small for one in test]), known, "cityblock")
    for one, row in zip(test, distances, strict=True):
        nearest = int(row.argmin())
        if row[nearest] < NEARLY * usual:
            yield NEARLY_LEAKED, f"{one.sample.path} = {train[nearest].sample.path}"
