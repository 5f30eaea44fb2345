"""What a detector has settled: values of a configuration that later verbs cannot change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.config.load import COMMAND_LINE, OVERRIDES
from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.utils.logger import get_logger

TRAINED = ("Arch", "Loss", "Optimizer", "Preprocess", "AMP", "EMA", "Tiling")
FITTED = ("Density", "Score", "Localize", "Threshold", "Tolerance")
_SHOWN = 3


def settled_values(config: Config, sections: Sequence[str]) -> dict[str, Any]:
    """The values of sections by dotted key, defaults among them; not where weights come from."""
    whole = config.model_dump(mode="json")
    return flat_values({name: whole[name] for name in sections})


def refuse_settled(
    config: Config, settled: Mapping[str, Any], sections: Sequence[str] = TRAINED + FITTED
) -> None:
    """Refuses overrides of what a detector has settled otherwise, and warns of such keys of files.

    Args:
        settled: :func:`settled_values` of the configuration that made the detector; empty where
            that is not known.
        sections: those that the verb does not apply.

    Raises:
        ConfigError: a key of the command line, or of the overrides of the API.
    """
    if not settled:
        return
    own = settled_values(config, sections)
    old = of_sections(settled, sections)
    others = [key for key in sorted({*own, *old}) if own.get(key) != old.get(key)]
    for key in others:
        if config.origin(key) in (COMMAND_LINE, OVERRIDES):
            raise ConfigError(
                key,
                f"the detector was made with {old.get(key)!r}, and this verb does not change it"
                f"{_instead(key)}",
                config.origin(key),
            )
    if others:
        said = [f"{key} ({old.get(key)!r}, not {own.get(key)!r})" for key in others[:_SHOWN]]
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        get_logger().warning(
            f"{config.Global.category}: what the detector was made with counts, not the "
            f"configuration: {', '.join(said)}{more}"
        )


def of_sections(values: Mapping[str, Any], sections: Sequence[str]) -> dict[str, Any]:
    """Those of the values by dotted key that belong to the sections."""
    return {key: value for key, value in values.items() if key.split(".")[0] in sections}


def flat_values(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted key -> value of nested mappings and lists; ``pretrained`` is left out at any depth."""
    return {key: value for key, value in _flat(tree, "") if "pretrained" not in key.split(".")}


def _instead(key: str) -> str:
    section = key.split(".", maxsplit=1)[0]
    if section == "Threshold":
        return ": use --threshold, 'refit' or 'calibrate'"
    return ": use 'refit'" if section in FITTED else ": train anew"


def _flat(value: Any, key: str) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        items: Any = value.items()
    elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        items = enumerate(value)
    else:
        return [(key, value)]
    return [
        pair for name, item in items for pair in _flat(item, f"{key}.{name}" if key else str(name))
    ]
