"""Whether every class that a configuration names is there and is what its registry asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.registry import REGISTRIES, Registry


def check_parts(config: Config) -> None:
    """Looks up every class that is named, before anything is built.

    Sections of another form are left to what builds them, which knows how they should look; so
    are unknown names below ``Arch``, whose keys are the architecture's own.

    Raises:
        ConfigError: an unknown name, or a class that breaks its registry's contract.
    """
    for registry in REGISTRIES:
        for name, key in _named(registry, config):
            if not key.startswith("Arch.") or name in registry.names():
                registry.get(name, key)


def _named(registry: Registry, config: Config) -> Iterator[tuple[str, str]]:
    """Name and dotted key of every class of a registry that the configuration names."""
    for section in registry.sections:
        value: Any = config.tree
        for part in section.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, list):
            for index, item in enumerate(value):
                yield from _in_list(item, f"{section}.{index}")
        elif isinstance(value, Mapping) and isinstance(value.get("name"), str):
            yield value["name"], f"{section}.name"


def _in_list(item: Any, key: str) -> Iterator[tuple[str, str]]:
    """The same of a list's item: ``Name``, ``Name: {arguments}`` or ``{name: Name}``."""
    if isinstance(item, str):
        yield item, key
    elif isinstance(item, Mapping) and isinstance(item.get("name"), str):
        yield item["name"], f"{key}.name"
    elif isinstance(item, Mapping) and len(item) == 1:
        (name,) = item
        yield name, f"{key}.{name}"
