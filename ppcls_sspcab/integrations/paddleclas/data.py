"""Datasets, sampler and transforms of this project in the shape that PaddleClas's loader takes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import paddle
from paddle.distributed import get_rank, get_world_size
from pydantic import ValidationError

from ppcls_sspcab.arguments import check_type, explain
from ppcls_sspcab.config.schema import ToleranceSection
from ppcls_sspcab.data.build import open_store, tolerated, transforms_of
from ppcls_sspcab.data.loader import CatchingDataset, SampleFailure
from ppcls_sspcab.data.split import split_good
from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.data.views import CutPasteViews, SampleNumbers, another
from ppcls_sspcab.data.white import settled
from ppcls_sspcab.errors import ConfigError, DataError, did_you_mean
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.registry import DATASETS, TRANSFORMS

FAILED = -1


class ListedPictures(paddle.io.Dataset):
    """A registered dataset, with its pictures.

    ``split: train`` gives CutPaste samples by running number, (views float32 [V, 3, h, w], labels
    int64 [V]), for ``FlattenViews`` and ``CutPasteSampler``; ``split: test`` gives (picture
    float32 [3, h, w], label int64 [1], 0 good and 1 bad).

    Args:
        transform_ops: augmentations and, last, CutPaste; of this project. For ``train`` only.
        split: ``train`` or ``test``.
        preprocess: section ``Preprocess``.
        seed: all that is random follows from it and the sample's number.
        held_out_share: share of the good pictures that is not trained on.
        cache_mb, on_error: as in section ``Global``.
        tolerance: section ``Tolerance``; None: none. For ``train`` only.
        listing: arguments of the dataset itself (``data_root``, ``category``...).

    Attributes:
        store, held_out: stores of the pictures of the split, and of those held out (or None).

    Raises:
        ConfigError, DataError: a wrong argument; files that are missing or unreadable.
    """

    registered = ""

    def __init__(
        self,
        transform_ops: list[Any] | None = None,
        split: Literal["train", "test"] = "train",
        preprocess: dict[str, Any] | None = None,
        seed: int = 0,
        held_out_share: float = 0.0,
        cache_mb: int = 2048,
        on_error: Literal["stop", "skip"] = "stop",
        tolerance: dict[str, Any] | None = None,
        **listing: Any,
    ) -> None:
        super().__init__()
        key = f"DataLoader.{self.registered}"
        check_type(split, Literal["train", "test"], f"{key}.split")
        listed = DATASETS.build({**listing, "name": self.registered}, key)
        self.preprocess = settled(Preprocess(**(preprocess or {})), listed.train)
        self.held_out: ImageStore | None = None
        self._items: Any = self
        if split == "test":
            self.store = ImageStore(listed.test, self.preprocess, cache_mb << 20, on_error)
            return
        parts = split_good(listed.train, held_out_share, seed)
        how = (self.preprocess, cache_mb, on_error, "reading")
        self.store = open_store(parts.train, *how)
        if parts.held_out:
            self.held_out = open_store(parts.held_out, *how)
        augmentations, views = transforms_of(transform_ops, f"{key}.transform_ops")
        augmentations = [*tolerated(_section(tolerance, f"{key}.tolerance")), *augmentations]
        self._items = CatchingDataset(
            CutPasteViews(self.store, augmentations, views, self.preprocess, seed)
        )

    def __len__(self) -> int:
        """Pictures of the split."""
        return len(self.store)

    def __getitem__(self, number: int) -> Any:
        if self._items is not self:
            return self._items[number]
        image = self.preprocess.normalize(self.store[number][None])[0]
        return image, np.array([self.store.samples[number].label], np.int64)


def _section(tolerance: dict[str, Any] | None, key: str) -> ToleranceSection | None:
    try:
        return None if tolerance is None else ToleranceSection(**tolerance)
    except ValidationError as error:
        mistake = error.errors(include_url=False)[0]
        name = str(mistake["loc"][0])
        unknown = f"unknown key{did_you_mean(name, ToleranceSection.model_fields)}"
        message = unknown if mistake["type"] == "extra_forbidden" else explain(mistake)
        raise ConfigError(f"{key}.{name}", message) from None


def dataset_named(name: str) -> type[ListedPictures]:
    """The class that PaddleClas finds as ``DataLoader.*.dataset.name``."""
    return type(name, (ListedPictures,), {"registered": name, "__module__": __name__})


class CutPasteSampler(paddle.io.BatchSampler):
    """Running numbers of the samples, an epoch at a time; what one epoch starts, the next goes on.

    Args:
        dataset: not used; PaddleClas gives it.
        batch_size: source pictures a step and rank.
        iter_per_epoch: steps of one epoch.
    """

    def __init__(self, dataset: Any, batch_size: int, iter_per_epoch: int) -> None:
        # Not calling the parent's constructor, which asks for a data set or a sampler.
        self.batch_size = batch_size
        self.iter_per_epoch = iter_per_epoch
        self.drop_last = True
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Makes ``epoch``, counted from 0, the next one."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        first = self.epoch * self.iter_per_epoch
        self.epoch += 1
        yield from SampleNumbers(
            self.batch_size, first + self.iter_per_epoch, first, get_rank(), get_world_size()
        )

    def __len__(self) -> int:
        return self.iter_per_epoch


class FlattenViews:
    """Batch transform: B samples of V views become B * V samples, a picture's views side by side.

    A sample that could not be read takes the whole batch's place, as label -1 and the reason in
    bytes, since an exception would be lost in Paddle's loader.
    """

    def __call__(self, batch: Sequence[Any]) -> list[tuple[np.ndarray, ...]]:
        for sample in batch:
            if isinstance(sample, SampleFailure):
                reason = json.dumps([sample.is_users, sample.text]).encode()
                failed = np.array([FAILED], np.int64)
                return [(np.zeros(1, np.float32), failed, np.frombuffer(reason, np.uint8))]
        return [
            (view, label[None])
            for views, labels in batch
            for view, label in zip(views, labels, strict=True)
        ]


def raise_failure(batch: Sequence[Any]) -> None:
    """Raises the DataError or RuntimeError that :class:`FlattenViews` put into a batch, if any."""
    if len(batch) == 3 and int(batch[1].flatten()[0]) == FAILED:
        is_users, text = json.loads(np.asarray(batch[2]).tobytes())
        raise (DataError if is_users else RuntimeError)(text)


def transform_named(name: str) -> Any:
    """A transform of this project for the ``transform_ops`` of any PaddleClas dataset.

    An augmentation maps uint8 [H, W, 3] to the same. A view transform belongs into
    ``batch_transform_ops`` of a dataset that does not normalise: samples (uint8 [3, H, W], label)
    become V each, (float32 [3, H, W], number of the view), normalised by ``mean`` and ``std``; a
    second picture that it wants is another one of the batch. Both draw from numpy's global
    generator, which PaddleClas seeds. One that looks at the good pictures first (``prepare``) is
    refused with ConfigError, as PaddleClas's datasets do not show theirs.
    """
    return type(name, (_Operator,), {"registered": name, "__doc__": TRANSFORMS.get(name).__doc__})


class _Operator:
    registered = ""

    def __init__(self, **arguments: Any) -> None:
        contract = {key: arguments.pop(key) for key in ("mean", "std") if key in arguments}
        section = {**arguments, "name": self.registered}
        key = f"transform_ops.{self.registered}"
        self._transform = TRANSFORMS.build(section, key)
        if hasattr(self._transform, "prepare"):
            raise ConfigError(
                key, "looks at the good pictures first: use a dataset of ppcls_sspcab with it"
            )
        self._preprocess = Preprocess(**contract)

    def __call__(self, given: Any) -> Any:
        if not hasattr(self._transform, "labels"):
            return self._transformed(given, _generator())
        images = [np.ascontiguousarray(image.transpose(1, 2, 0)) for image, *_ in given]
        samples: list[tuple[np.ndarray, np.int64]] = []
        for index, image in enumerate(images):
            rng, other = _generator(), []
            if getattr(self._transform, "wants_other", False):
                other.append(images[another(index, len(images), rng)])
            views = self._transformed(image, rng, *other)
            labels = map(np.int64, self._transform.labels)
            samples += zip(self._preprocess.normalize(views), labels, strict=True)
        return samples

    def _transformed(
        self, image: np.ndarray, rng: np.random.Generator, *other: np.ndarray
    ) -> np.ndarray:
        parameters = self._transform.draw(rng, *image.shape[:2])
        return self._transform.apply(image, parameters, *other)


def _generator() -> np.random.Generator:
    return np.random.default_rng(np.random.randint(2**31))
