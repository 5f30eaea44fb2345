"""The data of a configuration: data set, stores of pictures, transforms."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import paddle
from tqdm import tqdm

from ppcls_sspcab.arguments import refuse_misspelt
from ppcls_sspcab.config.config import Config
from ppcls_sspcab.config.items import list_item
from ppcls_sspcab.config.schema import ToleranceSection
from ppcls_sspcab.data.masks import unfit_masks
from ppcls_sspcab.data.samples import Sample
from ppcls_sspcab.data.split import held_out_share, split_good
from ppcls_sspcab.data.store import LEAST_CONTRAST, ImageStore
from ppcls_sspcab.data.tolerance import (
    FIT_KEYS,
    HELD_OUT_KEYS,
    BothVersions,
    WithinTolerance,
    changed_at_random,
)
from ppcls_sspcab.data.transforms.random_crop import RandomCrop
from ppcls_sspcab.data.white import settled
from ppcls_sspcab.errors import ConfigError, DataError
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.paths import check_category
from ppcls_sspcab.registry import DATASETS, TRANSFORMS
from ppcls_sspcab.utils.logger import get_logger
from ppcls_sspcab.utils.machine import cpu_threads

_TRANSFORM_OPS = "DataLoader.Train.dataset.transform_ops"


def build_dataset(config: Config) -> Any:
    """The dataset of one category (``Global.category`` must not be ``all``)."""
    section = _dataset_section(config)
    with _naming_data(config):
        return DATASETS.build(
            section,
            "DataLoader.Train.dataset",
            data_root=config.Global.data_root,
            category=config.Global.category,
        )


def categories(config: Config) -> list[str]:
    """The categories that ``Global.category`` stands for."""
    if config.Global.category != "all":
        return [config.Global.category]
    dataset = DATASETS.get(_dataset_section(config)["name"], "DataLoader.Train.dataset.name")
    with _naming_data(config):
        names = dataset.categories(config.Global.data_root)
        if not names:
            raise DataError(f"{config.Global.data_root}: holds no category")
        for name in names:
            try:
                check_category(name)
            except ValueError as error:
                raise DataError(str(error)) from error
    return names


@contextmanager
def _naming_data(config: Config) -> Iterator[None]:
    """Says which keys led to data that are not there."""
    try:
        yield
    except DataError as error:
        run = config.Global
        raise DataError(
            f"{error} (Global.data_root is {run.data_root!r}, Global.category {run.category!r})"
        ) from error


def build_store(
    config: Config, samples: list[Sample], title: str, preprocess: Preprocess | None = None
) -> ImageStore:
    """:func:`open_store` as the configuration says.

    Args:
        preprocess: section ``Preprocess`` with its white level settled.
    """
    run = config.Global
    preprocess = preprocess or config.Preprocess
    return open_store(samples, preprocess, run.cache_mb, run.on_error or "stop", title)


def open_store(
    samples: list[Sample],
    preprocess: Preprocess,
    cache_mb: int,
    on_error: Literal["stop", "skip"],
    title: str,
) -> ImageStore:
    """An :class:`ImageStore` whose pictures have been read.

    The log names those left out, and those that show nothing.
    """
    store = ImageStore(samples, preprocess, cache_bytes=cache_mb << 20, on_error=on_error)
    with tqdm(total=len(samples), desc=title, unit="pictures", disable=None, leave=False) as bar:
        store.warm(threads=cpu_threads(), progress=bar.update)
    for path, reason in store.skipped:
        get_logger().warning(f"skipped {path}: {reason}")
    if store.flat:
        get_logger().warning(
            f"{len(store.flat)} of {len(store)} pictures show nothing: their values differ by less "
            f"than {LEAST_CONTRAST} of 255 (the first: {store.flat[0]})"
        )
    return store


def warn_of_masks(samples: list[Sample], config: Config) -> None:
    """Names the test pictures' masks that an evaluation will leave out, before the training.

    Raises:
        DataError: there is one, and ``Global.on_error`` is ``stop``.
    """
    unfit = 0
    for error in unfit_masks(samples, cpu_threads()):
        if config.Global.on_error == "stop":
            raise error
        unfit += 1
        get_logger().warning(f"unfit mask: {error}")
    if unfit:
        get_logger().warning(
            f"{config.Global.category}: {unfit} unfit masks will be left out of the pixel metrics"
        )


@dataclasses.dataclass(frozen=True)
class GoodPictures:
    """The good pictures of a run.

    Attributes:
        train: train the network; density, image score and localizer are fitted to them.
        held_out: calibrate the threshold; None where none are held out.
    """

    train: ImageStore
    held_out: ImageStore | None


def good_pictures(
    config: Config,
    samples: list[Sample] | None = None,
    preprocess: Preprocess | None = None,
    trained_on: Collection[str] = (),
) -> GoodPictures:
    """Reads the good pictures of a configuration of one category, or ``samples`` if given.

    Args:
        preprocess: how they are read; default section ``Preprocess``, its white level settled.
        trained_on: contents of pictures that are not held out.
    """
    samples = build_dataset(config).train if samples is None else samples
    split = split_good(samples, held_out_share(config), config.Global.seed, trained_on)
    if split.copies:
        get_logger().warning(
            f"{config.Global.category}: {split.copies} of {len(samples)} good pictures are copies "
            "of others, byte for byte: each is used once"
        )
    get_logger().info(
        f"{config.Global.category}: {len(split.train)} good pictures to train on, "
        f"{len(split.held_out)} held out, on {paddle.device.get_device()}"
    )
    preprocess = preprocess or settled(config.Preprocess, samples)
    train, held_out = (
        build_store(config, part, "reading", preprocess) if part else None
        for part in (split.train, split.held_out)
    )
    assert train is not None  # a split keeps some to train on
    return GoodPictures(train, held_out)


def within_tolerance(pictures: GoodPictures, config: Config) -> GoodPictures:
    """The pictures as a detector is fitted to and calibrated on them under ``Tolerance``.

    Those to fit to come as they are and changed at random, two in a row. Those held out are changed
    once: a threshold keeps its rate for new pictures that are changed alike, if it has one score of
    each picture.
    """
    if config.Tolerance is None:
        return pictures
    held_out = pictures.held_out and changed(pictures.held_out, config, HELD_OUT_KEYS)
    both = BothVersions(pictures.train, changed(pictures.train, config, FIT_KEYS))
    return GoodPictures(both, held_out)


def changed(store: ImageStore, config: Config, first_key: int) -> ImageStore:
    """A store's pictures, each changed within ``Tolerance``; as they are without the section.

    Args:
        first_key: of a range of ``data/tolerance.py``; pictures of one range are changed alike.
    """
    if config.Tolerance is None:
        return store
    return changed_at_random(store, config.Tolerance, config.Global.seed, first_key)


def build_transforms(config: Config) -> tuple[list[Any], Any]:
    """Augmentations, and the view transform (CutPaste) that ends ``transform_ops``."""
    _dataset_section(config)
    augmentations, views = transforms_of(transform_sections(config), _TRANSFORM_OPS)
    return [*tolerated(config.Tolerance), *augmentations], views


def tolerated(tolerance: ToleranceSection | None) -> list[Any]:
    """The transforms that come before all others: those of ``Tolerance``."""
    return [] if tolerance is None else [WithinTolerance(tolerance)]


def transform_sections(config: Config) -> Any:
    """``transform_ops``; with ``Tiling`` the first one cuts a tile from anywhere, if none does."""
    sections = config.DataLoader.Train.dataset.get("transform_ops")
    if config.Tiling is None or not isinstance(sections, list):
        return sections
    crop = RandomCrop.__name__
    if any(crop in section for section in sections if isinstance(section, (str, dict))):
        return sections
    return [{crop: {"size": config.Tiling.size}}, *sections]


def transforms_of(sections: Any, key: str) -> tuple[list[Any], Any]:
    """The transforms of a list ``[{Name: {arguments}}, ...]``: the last one makes the views.

    Raises:
        ConfigError: a wrong item, or a list that does not end with its only view transform.
    """
    if not isinstance(sections, list) or not sections:
        raise ConfigError(key, "must be a list that ends with a view transform such as CutPaste")
    transforms = []
    for index, section in enumerate(sections):
        name, arguments = list_item(section, f"{key}.{index}")
        transforms.append(TRANSFORMS.build({**arguments, "name": name}, f"{key}.{index}.{name}"))
    *augmentations, views = transforms
    for index, transform in enumerate(augmentations):
        if hasattr(transform, "labels"):
            raise ConfigError(f"{key}.{index}", "a view transform must stand last")
    if not hasattr(views, "labels"):
        raise ConfigError(key, "the last transform must make the views, as CutPaste does")
    return augmentations, views


def _dataset_section(config: Config) -> dict[str, Any]:
    section = config.DataLoader.Train.dataset
    refuse_misspelt(section, ["name", "transform_ops"], "DataLoader.Train.dataset")
    if "name" not in section:
        raise ConfigError("DataLoader.Train.dataset", "needs a 'name'")
    return {key: value for key, value in section.items() if key != "transform_ops"}
