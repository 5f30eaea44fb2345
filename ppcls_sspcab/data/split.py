"""Which good pictures are held out: of training for the threshold, or for the test."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence

import numpy as np

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.data.samples import LEAST_GOOD, Sample
from ppcls_sspcab.errors import DataError


@dataclasses.dataclass(frozen=True)
class GoodSplit:
    """Good pictures: those that train the network and fit the density, and those held out."""

    train: list[Sample]
    held_out: list[Sample]


def split_good(samples: list[Sample], share: float, seed: int) -> GoodSplit:
    """Holds out ``share`` of the good pictures, chosen by ``seed``; at least two unless it is 0.

    Raises:
        DataError: fewer than four pictures: two must fit the density, and two must be held out
            for a threshold to have a scale.
    """
    if share == 0:
        return GoodSplit(samples, [])
    if len(samples) < 4:
        raise DataError(
            f"{len(samples)} good pictures; at least 4 are needed, since part of them is held out "
            "to set the threshold"
        )
    count = min(max(2, round(share * len(samples))), len(samples) - 2)
    rng = np.random.Generator(np.random.Philox(key=[seed, len(samples)]))
    apart = set(rng.permutation(len(samples))[:count].tolist())
    return GoodSplit(
        [sample for index, sample in enumerate(samples) if index not in apart],
        [samples[index] for index in sorted(apart)],
    )


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
