"""Training samples by a running number, and the loader that makes them in worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import paddle

from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.image.preprocess import Preprocess

_PASS_KEYS = 1 << 63  # keys of the permutations, apart from those of the samples


class CutPasteViews(paddle.io.Dataset):
    """Sample ``n`` of the training, for any running number ``n``: its views and their labels.

    Every pass over the store has a permutation of its own, from (seed, pass); all else that is
    random comes from ``Philox(key=[seed, n])``. So sample ``n`` is the same in any process, with
    any number of workers or ranks, and after resuming.

    A transform that has ``prepare`` is shown the store first. A view transform that has
    ``wants_other`` is given a second picture of the store, augmented by draws of its own; where
    there is but one, the second is the same picture.

    Args:
        store: good pictures.
        transforms: augmentations, in order (see ``registry.TRANSFORMS``).
        view_transform: makes the views of what the augmentations return.
        seed: 0 to 2**63 - 1.

    Raises:
        ValueError: the store is empty, or the seed out of range.
    """

    def __init__(
        self,
        store: ImageStore,
        transforms: Sequence[Any],
        view_transform: Any,
        preprocess: Preprocess,
        seed: int,
    ) -> None:
        super().__init__()
        if len(store) == 0:
            raise ValueError("there are no pictures to make views of")
        if not 0 <= seed < _PASS_KEYS:
            raise ValueError(f"seed must lie in 0..2**63 - 1, not {seed}")
        self.store = store
        self.transforms = list(transforms)
        self.view_transform = view_transform
        self.preprocess = preprocess
        self.seed = seed
        self._labels = np.asarray(view_transform.labels, np.int64)
        self._permutation: tuple[int, np.ndarray] | None = None
        for transform in (*self.transforms, view_transform):
            if hasattr(transform, "prepare"):
                transform.prepare(store)

    def __len__(self) -> int:
        """Samples of one pass; larger numbers go on with the next pass."""
        return len(self.store)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Views float32 [V, 3, h, w], normalised, and labels int64 [V].

        Raises:
            ImageError: the picture cannot be read.
        """
        rng, index = _generator(self.seed, number), self.index_of(number)
        pictures = [self._augmented(index, rng)]
        if getattr(self.view_transform, "wants_other", False):
            pictures.append(self._augmented(another(index, len(self.store), rng), rng))
        parameters = self.view_transform.draw(rng, *pictures[0].shape[:2])
        views = self.view_transform.apply(pictures[0], parameters, *pictures[1:])
        return self.preprocess.normalize(views), self._labels.copy()

    def _augmented(self, index: int, rng: np.random.Generator) -> np.ndarray:
        image = self.store[index]
        for transform in self.transforms:
            image = transform.apply(image, transform.draw(rng, *image.shape[:2]))
        return image

    @property
    def view_size(self) -> tuple[int, int]:
        """(h, w) of the views: the pictures' size, or that of the crops which are made of them."""
        height, width = self.preprocess.image_size
        for transform in self.transforms:
            if hasattr(transform, "output_size"):
                height, width = transform.output_size(height, width)
        return height, width

    def index_of(self, number: int) -> int:
        """Which picture of the store sample ``number`` is made of."""
        pass_, position = divmod(number, len(self.store))
        if self._permutation is None or self._permutation[0] != pass_:
            order = _generator(self.seed, _PASS_KEYS + pass_).permutation(len(self.store))
            self._permutation = (pass_, order)
        return int(self._permutation[1][position])


def another(index: int, count: int, rng: np.random.Generator) -> int:
    """One of ``count`` that is not ``index``, each as likely; ``index`` itself if it is alone."""
    return (index + int(rng.integers(1, count))) % count if count > 1 else index


def _generator(seed: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))


class SampleNumbers(paddle.io.BatchSampler):
    """Running numbers of the samples of each step.

    Step ``s`` of all ranks together takes the numbers from ``s * batch_size * ranks`` on; rank
    ``r`` has the ``r``-th stretch of it. N ranks with batch b see what one with N * b sees.

    Args:
        batch_size: samples a step and rank.
        steps: steps of the whole training.
        start_step: steps done before, when training is resumed.
        rank, ranks: which process of how many.

    Raises:
        ValueError: a value is out of range.
    """

    def __init__(
        self, batch_size: int, steps: int, start_step: int = 0, rank: int = 0, ranks: int = 1
    ) -> None:
        # Not calling the parent's constructor, which asks for a data set or a sampler.
        if batch_size < 1 or not 0 <= start_step <= steps or not 0 <= rank < ranks:
            raise ValueError(
                f"wrong batch_size={batch_size}, steps={steps}, start_step={start_step}, "
                f"rank={rank} or ranks={ranks}"
            )
        self.batch_size = batch_size
        self.steps = steps
        self.start_step = start_step
        self.rank = rank
        self.ranks = ranks
        self.drop_last = True

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start_step, self.steps):
            first = (step * self.ranks + self.rank) * self.batch_size
            yield list(range(first, first + self.batch_size))

    def __len__(self) -> int:
        return self.steps - self.start_step
