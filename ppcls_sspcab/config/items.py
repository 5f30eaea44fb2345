"""Items of PaddleClas's lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppcls_sspcab.errors import ConfigError


def list_item(section: Any, key: str) -> tuple[str, dict[str, Any]]:
    """A PaddleClas list item: ``Name: {arguments}`` or ``Name:`` alone."""
    if isinstance(section, str):
        return section, {}
    if not isinstance(section, Mapping) or len(section) != 1:
        raise ConfigError(key, f"must be one name with its arguments, not {section!r}")
    ((name, arguments),) = section.items()
    if arguments is not None and not isinstance(arguments, Mapping):
        raise ConfigError(f"{key}.{name}", f"must be a mapping, not {arguments!r}")
    return name, dict(arguments or {})
