"""From a configuration to the parts of a run: each section is built here and nowhere else."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import paddle
from paddle import nn
from tqdm import tqdm

from ppcls_sspcab.config import Config
from ppcls_sspcab.data.augment import RandomCrop
from ppcls_sspcab.data.samples import Sample
from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.detector import DEFAULT_SCORE, Detector, build_detector
from ppcls_sspcab.errors import ConfigError, DataError, ModelError
from ppcls_sspcab.loss.combined import CombinedLoss
from ppcls_sspcab.registry import (
    ARCHITECTURES,
    DATASETS,
    METRICS,
    THRESHOLDS,
    TRANSFORMS,
    refuse_misspelt,
)
from ppcls_sspcab.runtime.image import Preprocess
from ppcls_sspcab.utils.launcher import cpu_threads
from ppcls_sspcab.utils.logging import get_logger
from ppcls_sspcab.utils.names import check_category

AUTO = "auto"
_TRANSFORM_OPS = "DataLoader.Train.dataset.transform_ops"


@dataclasses.dataclass(frozen=True)
class GoodSplit:
    """Good pictures: those that train the network and fit the density, and those held out."""

    train: list[Sample]
    held_out: list[Sample]


def build_dataset(config: Config) -> Any:
    """The dataset of one category (``Global.category`` must not be ``all``)."""
    section = _dataset_section(config)
    with _naming_data(config):
        return DATASETS.build(
            section,
            "DataLoader.Train.dataset",
            data_root=config.run.data_root,
            category=config.run.category,
        )


def categories(config: Config) -> list[str]:
    """The categories that ``Global.category`` stands for."""
    if config.run.category != "all":
        return [config.run.category]
    dataset = DATASETS.get(_dataset_section(config)["name"], "DataLoader.Train.dataset.name")
    with _naming_data(config):
        names = dataset.categories(config.run.data_root)
        if not names:
            raise DataError(f"{config.run.data_root}: holds no category")
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
        run = config.run
        raise DataError(
            f"{error} (Global.data_root is {run.data_root!r}, Global.category {run.category!r})"
        ) from error


def split_good(samples: list[Sample], share: float, seed: int) -> GoodSplit:
    """Holds out ``share`` of the good pictures, at least one, chosen by ``seed``.

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
    order = np.random.Generator(np.random.Philox(key=[seed, len(samples)])).permutation(
        len(samples)
    )
    held_out = set(order[:count].tolist())
    return GoodSplit(
        [sample for index, sample in enumerate(samples) if index not in held_out],
        [sample for index, sample in enumerate(samples) if index in held_out],
    )


def build_store(config: Config, samples: list[Sample], title: str) -> ImageStore:
    """The pictures at network size, decoded into memory up to ``Global.cache_mb``."""
    return open_store(samples, config.preprocess, config.run.cache_mb, config.run.on_error, title)


def open_store(
    samples: list[Sample],
    preprocess: Preprocess,
    cache_mb: int,
    on_error: Literal["stop", "skip"],
    title: str,
) -> ImageStore:
    """An :class:`ImageStore` whose pictures have been read; those left out are in the log."""
    store = ImageStore(samples, preprocess, cache_bytes=cache_mb << 20, on_error=on_error)
    with tqdm(total=len(samples), desc=title, unit="pictures", disable=None, leave=False) as bar:
        store.warm(threads=cpu_threads(), progress=bar.update)
    for path, reason in store.skipped:
        get_logger().warning(f"skipped {path}: {reason}")
    return store


def good_stores(config: Config) -> tuple[ImageStore, ImageStore | None]:
    """The good pictures to train and fit on, and those held out; None if none are."""
    split = split_good(build_dataset(config).train, held_out_share(config), config.run.seed)
    get_logger().info(
        f"{config.run.category}: {len(split.train)} good pictures to train on, "
        f"{len(split.held_out)} held out, on {paddle.device.get_device()}"
    )
    good = build_store(config, split.train, "reading")
    return good, build_store(config, split.held_out, "reading") if split.held_out else None


def held_out_share(config: Config) -> float:
    """The share of the good pictures that calibrates the threshold instead of training."""
    plan = config.calibration
    return plan.held_out_share if plan.calibrate_on == "held_out" else 0.0


def build_transforms(config: Config) -> tuple[list[Any], Any]:
    """Augmentations, and the view transform (CutPaste) that ends ``transform_ops``."""
    _dataset_section(config)
    return transforms_of(transform_sections(config), _TRANSFORM_OPS)


def transform_sections(config: Config) -> Any:
    """``transform_ops``; with ``Tiling`` the first one cuts a tile from anywhere, if none does."""
    sections = config.get(_TRANSFORM_OPS)
    if config.tiling is None or not isinstance(sections, list):
        return sections
    crop = RandomCrop.__name__
    if any(crop in section for section in sections if isinstance(section, (str, dict))):
        return sections
    return [{crop: {"size": config.tiling.size}}, *sections]


def transforms_of(sections: Any, key: str) -> tuple[list[Any], Any]:
    """What :func:`build_transforms` returns, of a list ``[{Name: {arguments}}, ...]``.

    Raises:
        ConfigError: a wrong item, or a list that does not end with its only view transform.
    """
    if not isinstance(sections, list) or not sections:
        raise ConfigError(key, "must be a list that ends with a view transform such as CutPaste")
    transforms = []
    for index, section in enumerate(sections):
        name, arguments = _single(section, f"{key}.{index}")
        transforms.append(TRANSFORMS.build({**arguments, "name": name}, f"{key}.{index}.{name}"))
    *augmentations, views = transforms
    for index, transform in enumerate(augmentations):
        if hasattr(transform, "labels"):
            raise ConfigError(f"{key}.{index}", "a view transform must stand last")
    if not hasattr(views, "labels"):
        raise ConfigError(key, "the last transform must make the views, as CutPaste does")
    return augmentations, views


def build_network(config: Config, class_num: int | None = None) -> nn.Layer:
    """The network of section ``Arch``, its pretrained weights loaded.

    Args:
        class_num: number of classes of the view transform, where the network is to be trained.

    Raises:
        ConfigError: a wrong key or value, or an ``Arch.class_num`` that is not ``class_num``.
    """
    try:
        network = ARCHITECTURES.build(config["Arch"], "Arch")
    except ModelError as error:
        raise ModelError(f"Arch.pretrained: {error}") from error
    if class_num is not None and network.class_num != class_num:
        raise ConfigError(
            "Arch.class_num",
            f"is {network.class_num}, but the CutPaste variant of transform_ops has {class_num} "
            "classes",
        )
    return network


def build_loss(config: Config) -> nn.Layer:
    """The weighted sum of section ``Loss.Train``."""
    sections = config.get("Loss.Train")
    if not isinstance(sections, list) or not sections:
        raise ConfigError("Loss.Train", "must be a list such as [{CELoss: {weight: 1.0}}]")
    return CombinedLoss(sections)


def unfitted_detector(config: Config, network: nn.Layer) -> Detector:
    """The detector of sections ``Density``, ``Score`` and ``Localize``, not fitted yet.

    Where the score is to be chosen (``auto``), it has all candidates.
    """
    score = config.get("Score") or DEFAULT_SCORE
    if chooses_score(config):
        score = {"name": AUTO, "scores": candidate_sections(config)}
    elif score == {"name": AUTO}:
        score = DEFAULT_SCORE
    return build_detector(
        network,
        config.preprocess.image_size,
        config["Density"],
        score,
        config.get("Localize"),
        tiling_section(config),
    )


def tiling_section(config: Config) -> dict[str, Any] | None:
    """Section ``Tiling`` with its defaults; None without one."""
    return dataclasses.asdict(config.tiling) if config.tiling is not None else None


def candidate_sections(config: Config) -> list[dict[str, Any]]:
    """Sections of the image scores that ``auto`` chooses from.

    The fused one stands first, which is taken unless another is clearly better: where nothing
    tells the scores apart, none should decide alone.
    """
    has_map = bool(config.get("Localize"))
    parts = ["place_max", "logit"]
    names = ["map_max"] * has_map + ["embedding", "embedding_max", "place_max", "logit"]
    return [{"name": "fused", "parts": parts}, *({"name": name} for name in names)]


def chooses_score(config: Config) -> bool:
    """Whether held-out pictures choose the image score; without them ``auto`` is the paper's."""
    return config.get("Score") == {"name": AUTO} and held_out_share(config) > 0


def build_threshold(config: Config) -> Any:
    """The threshold method of section ``Threshold``."""
    return THRESHOLDS.build(config.threshold, "Threshold")


def build_metrics(config: Config) -> dict[str, Any]:
    """The registered metrics that section ``Metric.Eval`` names, by name."""
    sections = config.get("Metric.Eval") or []
    if not isinstance(sections, list):
        raise ConfigError("Metric.Eval", f"must be a list of names, not {sections!r}")
    metrics = {}
    for index, section in enumerate(sections):
        name, _ = _single(section, f"Metric.Eval.{index}")
        metrics[name] = METRICS.get(name, f"Metric.Eval.{index}")
    return metrics


def _dataset_section(config: Config) -> dict[str, Any]:
    section = config.get("DataLoader.Train.dataset")
    if isinstance(section, Mapping):
        refuse_misspelt(section, ["name", "transform_ops"], "DataLoader.Train.dataset")
    if not isinstance(section, Mapping) or "name" not in section:
        raise ConfigError("DataLoader.Train.dataset", "must be a mapping with a 'name'")
    return {key: value for key, value in section.items() if key != "transform_ops"}


def _single(section: Any, key: str) -> tuple[str, dict[str, Any]]:
    """A PaddleClas list item: ``Name: {arguments}`` or ``Name:`` alone."""
    if isinstance(section, str):
        return section, {}
    if not isinstance(section, Mapping) or len(section) != 1:
        raise ConfigError(key, f"must be one name with its arguments, not {section!r}")
    ((name, arguments),) = section.items()
    if arguments is not None and not isinstance(arguments, Mapping):
        raise ConfigError(f"{key}.{name}", f"must be a mapping, not {arguments!r}")
    return name, dict(arguments or {})
