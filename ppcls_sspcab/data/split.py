"""Which good pictures are held out: of training for the threshold, or for the test."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.data.samples import LEAST_GOOD, Sample
from ppcls_sspcab.errors import DataError
from ppcls_sspcab.image.content import contents_of


@dataclasses.dataclass(frozen=True)
class GoodSplit:
    """Good pictures: those that train the network and fit the density, and those held out."""

    train: list[Sample]
    held_out: list[Sample]


def split_good(samples: list[Sample], share: float, seed: int) -> GoodSplit:
    """Holds out about ``share`` of the good pictures, chosen by their content and ``seed``.

    Whether one is held out follows from the bytes of its file alone: copies lie on one side, and
    a picture stays where it is when others are renamed, added or removed. Their number is chance,
    as of throws of a die; of the different ones at least two are held out, and two are left.

    Args:
        share: in [0, 1); 0 holds out none.

    Raises:
        DataError: fewer than four different pictures: two must fit the density, and two must be
            held out for a threshold to have a scale.
    """
    if share == 0:
        return GoodSplit(samples, [])
    contents = contents_of([sample.path for sample in samples])
    places = {content: _place(content, seed) for content in contents}
    if len(places) < 4:
        found = f"{len(samples)} good pictures"
        if len(places) < len(samples):
            found += f", of which {len(places)} differ"
        raise DataError(
            f"{found}; at least 4 are needed, since part of them is held out to set the threshold"
        )
    count = sum(place < share for place in places.values())
    count = min(max(2, count), len(places) - 2)
    apart = set(sorted(places, key=places.__getitem__)[:count])
    pairs = list(zip(samples, contents, strict=True))
    return GoodSplit(
        [sample for sample, content in pairs if content not in apart],
        [sample for sample, content in pairs if content in apart],
    )


def _place(content: str, seed: int) -> float:
    """Where a picture's content lies in [0, 1), evenly spread, by ``seed``."""
    digest = hashlib.sha256(f"{seed} {content}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def held_out_share(config: Config) -> float:
    """The share of the good pictures that calibrates the threshold instead of training."""
    plan = config.Threshold
    return plan.held_out_share if plan.calibrate_on == "held_out" else 0.0


def held_out(names: Sequence[str], share: float) -> list[bool]:
    """Which of the good pictures are kept from training to test on.

    ``floor(count * share)`` of them, never leaving fewer than 2 for training: those whose names
    have the smallest hashes. Cameras and parts come in turns, and every n-th picture may be one
    camera's; a hash has no period, and hardly another picture changes sides when some are added.
    """
    count = min(int(len(names) * share + 1e-9), max(0, len(names) - LEAST_GOOD))
    order = sorted(range(len(names)), key=lambda index: _hash(names[index]))
    chosen = set(order[:count])
    return [index in chosen for index in range(len(names))]


def _hash(name: str) -> bytes:
    return hashlib.sha256(os.fsencode(name)).digest()


def split_note(train: int, test: int) -> str:
    """How many good pictures are tested, in a sentence for the log and the report."""
    return (
        f"no good pictures are set aside for the test: of {train + test} good pictures {test}, "
        f"chosen by the hash of their names, are kept from training and tested"
    )


def evenly_spread(count: int, most: int) -> list[int]:
    """At most ``most`` of the numbers 0 .. count - 1, the first among them."""
    kept = min(count, most)
    return [index * count // kept for index in range(kept)]
