"""Whether every class that a configuration names is there and is what its registry asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.registry import (
    ARCHITECTURES,
    BACKBONES,
    BLOCKS,
    DATASETS,
    DENSITIES,
    HEADS,
    IMAGE_SCORES,
    LOCALIZERS,
    LOSSES,
    METRICS,
    OPTIMIZERS,
    POSTPROCESSES,
    SCHEDULES,
    THRESHOLDS,
    TRANSFORMS,
    Registry,
)

# Where a section with a ``name`` stands, or several of them.
SECTIONS = {
    "Arch": ARCHITECTURES,
    "Arch.Backbone": BACKBONES,
    "Arch.Block": BLOCKS,
    "Arch.Head": HEADS,
    "DataLoader.Train.dataset": DATASETS,
    "Density": DENSITIES,
    "Score": IMAGE_SCORES,
    "Localize": LOCALIZERS,
    "Threshold": THRESHOLDS,
    "Infer.PostProcess": POSTPROCESSES,
    "Optimizer": OPTIMIZERS,
    "Optimizer.lr": SCHEDULES,
}

# Where a list of names stands, perhaps with arguments, as in ``CELoss: {weight: 1.0}``.
LISTS = {
    "Score.parts": IMAGE_SCORES,
    "Loss.Train": LOSSES,
    "DataLoader.Train.dataset.transform_ops": TRANSFORMS,
    "Metric.Eval": METRICS,
}


def check_parts(config: Config) -> None:
    """Does nothing if every class that is named is there and keeps its registry's contract.

    Sections of another form are left to what builds them, which knows how they should look; so
    are unknown names below ``Arch``, whose keys are the architecture's own.

    Raises:
        ConfigError: an unknown name, or a class that lacks something.
    """
    for registry, name, key in _named_parts(config):
        if not key.startswith("Arch.") or name in registry.names():
            registry.get(name, key)


def _named_parts(config: Config) -> Iterator[tuple[Registry, str, str]]:
    """Registry, name and dotted key of every class that the configuration names."""
    for key, registry in SECTIONS.items():
        for place, section in _items(_at(config.tree, key), key):
            if isinstance(section, Mapping) and isinstance(section.get("name"), str):
                yield registry, section["name"], f"{place}.name"
    for key, registry in LISTS.items():
        for place, item in _items(_at(config.tree, key), key):
            if isinstance(item, str):
                yield registry, item, place
            elif isinstance(item, Mapping) and isinstance(item.get("name"), str):
                yield registry, item["name"], f"{place}.name"
            elif isinstance(item, Mapping) and len(item) == 1:
                (name,) = item
                yield registry, name, f"{place}.{name}"


def _at(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def _items(value: Any, key: str) -> list[tuple[str, Any]]:
    if isinstance(value, list):
        return [(f"{key}.{index}", item) for index, item in enumerate(value)]
    return [(key, value)]
