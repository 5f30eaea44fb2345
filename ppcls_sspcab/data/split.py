"""Which good pictures are held out: of training for the threshold, or for the test."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Collection, Sequence

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.data.samples import LEAST_GOOD, Sample
from ppcls_sspcab.errors import DataError
from ppcls_sspcab.image.content import contents_of


@dataclasses.dataclass(frozen=True)
class GoodSplit:
    """Different good pictures, each with its content, in their order.

    Attributes:
        train: train the network and fit the density.
        held_out: do neither.
        copies: how many more files have the bytes of one of these.
    """

    train: list[Sample]
    held_out: list[Sample]
    copies: int = 0


def split_good(
    samples: list[Sample], share: float, seed: int, trained_on: Collection[str] = ()
) -> GoodSplit:
    """Holds out about ``share`` of the good pictures, chosen by their content and ``seed``.

    Whether one is held out follows from the bytes of its file alone: it stays where it is when
    others are renamed, added or removed. Their number is chance, as of throws of a die; at least
    two are held out, and two are left. Of copies the first one counts.

    Args:
        share: in [0, 1); 0 holds out none.
        trained_on: contents of pictures that are not held out, whatever the seed.

    Raises:
        DataError: fewer than four different pictures: two must fit the density, and two must be
            held out for a threshold to have a scale; or fewer than two that may be held out.
    """
    different = _different(samples)
    copies = len(samples) - len(different)
    if share == 0:
        return GoodSplit(different, [], copies)
    if len(different) < 4:
        found = f"{len(samples)} good pictures"
        if copies:
            found += f", of which {len(different)} differ"
        raise DataError(
            f"{found}; at least 4 are needed, since part of them is held out to set the threshold"
        )
    places = {
        sample.content: _place(sample.content, seed)
        for sample in different
        if sample.content not in trained_on
    }
    if len(places) < 2:
        raise DataError(
            f"the network was trained on {len(different) - len(places)} of {len(different)} good "
            "pictures; at least 2 others are needed to set the threshold"
        )
    count = sum(place < share for place in places.values())
    count = min(max(2, count), len(different) - 2)
    apart = set(sorted(places, key=places.__getitem__)[:count])
    return GoodSplit(
        [sample for sample in different if sample.content not in apart],
        [sample for sample in different if sample.content in apart],
        copies,
    )


def _different(samples: list[Sample]) -> list[Sample]:
    """The samples with their contents, the first one of each."""
    contents = contents_of([sample.path for sample in samples])
    found: dict[str, Sample] = {}
    for sample, content in zip(samples, contents, strict=True):
        found.setdefault(content, dataclasses.replace(sample, content=content))
    return list(found.values())


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
