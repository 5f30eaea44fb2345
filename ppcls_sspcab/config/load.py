"""Reading a configuration: ``_BASE_`` inheritance, overrides, and which file set a key."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ppcls_sspcab.arguments import items_of
from ppcls_sspcab.config.config import Config
from ppcls_sspcab.config.schema import ThresholdSection
from ppcls_sspcab.errors import ConfigError, did_you_mean
from ppcls_sspcab.paths import shipped_config
from ppcls_sspcab.utils.plain_yaml import TooMuch, YamlError, read_yaml

COMMAND_LINE = "-o on the command line"
OVERRIDES = "overrides"

# Files that name several _BASE_ each would be read more often than any time allows.
MOST_FILES = 100


def load_config(
    source: str | os.PathLike[str] | Mapping[str, Any] | Config,
    overrides: Mapping[str, Any] | Sequence[str] = (),
) -> Config:
    """Reads a configuration, what its ``_BASE_`` names, and the overrides.

    Args:
        source: a YAML file; or a mapping of sections, which may hold ``_BASE_`` too; or a
            configuration to change. A file that is neither beside the one that names it nor in
            the working directory is looked for among the shipped ones.
        overrides: a mapping of dotted keys to values, ``{"Global.seed": 1}``; or texts as on the
            command line, ``["Global.seed=1"]``, whose values are parsed by YAML's rules. List
            items go by number: ``Loss.Train.0.CELoss.weight``.

    Raises:
        ConfigError: a file that is missing or no YAML, or anything :class:`Config` refuses.
    """
    if isinstance(source, Config):
        tree, origins = _plain(source.tree), dict(source.origins)
    elif isinstance(source, Mapping):
        tree, origins = _with_bases(_plain(source), "", Path(), (), [])
    else:
        tree, origins = _read(_found(Path(source), Path()), (), [])
    named = OVERRIDES if isinstance(overrides, Mapping) else COMMAND_LINE
    try:
        # A new name drops the arguments of the old one, so names go first.
        for parts, value in sorted(_pairs(overrides), key=lambda pair: pair[0][-1] != "name"):
            _override(tree, parts, value)
            key = ".".join(parts)
            origins = {
                known: file for known, file in origins.items() if not known.startswith(key + ".")
            }
            origins[key] = named
    except ConfigError as error:
        error.file = named
        raise
    return Config(tree, origins)


def _read(
    path: Path, including: tuple[Path, ...], read: list[Path]
) -> tuple[dict[str, Any], dict[str, str]]:
    """A file with its bases; ``read`` are those read so far."""
    resolved = path.resolve()
    read.append(path)
    if len(read) > MOST_FILES:
        raise ConfigError("_BASE_", f"names more than {MOST_FILES} files in all", str(read[0]))
    if resolved in including:
        raise ConfigError("_BASE_", f"the file includes itself through {path}", str(including[-1]))
    return _with_bases(_parse(path), str(path), path.parent, (*including, resolved), read)


def _with_bases(
    tree: dict[str, Any],
    name: str,
    folder: Path,
    including: tuple[Path, ...],
    read: list[Path],
) -> tuple[dict[str, Any], dict[str, str]]:
    """The tree merged onto those of its ``_BASE_`` files, and the file that set each key."""
    bases = tree.pop("_BASE_", [])
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {"": name}
    bases = [bases] if isinstance(bases, str) else bases
    if not (isinstance(bases, list) and all(isinstance(base, str) for base in bases)):
        raise ConfigError("_BASE_", f"must be a file name or a list, not {bases!r}", name)
    for base in bases:
        base_tree, base_origins = _read(_found(Path(base), folder), including, read)
        merged = _merge(merged, base_tree)
        origins.update({key: file for key, file in base_origins.items() if key})
    origins.update(dict.fromkeys(_keys(tree), name))
    return _merge(merged, tree), origins


def _found(path: Path, folder: Path) -> Path:
    """The file below ``folder``, or else the shipped one: ``configs/demo.yaml``, ``demo.yaml``."""
    beside = folder / path
    if os.path.exists(beside) or ".." in path.parts:
        return beside
    return shipped_config(str(path).removeprefix("configs/")) or beside


def _plain(value: Any) -> Any:
    """A copy of nested mappings and sequences as the dicts and lists that a YAML gives."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _parse(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = [str(file) for file in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise ConfigError("", f"no such file{did_you_mean(str(path), near)}", str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("", f"cannot be read: {error}", str(path)) from error
    tree = _parse_yaml(text, "", "is not valid YAML", str(path))
    if not isinstance(tree, dict):
        raise ConfigError("", "must hold sections such as 'Global:'", str(path))
    return tree


def _parse_yaml(text: str, key: str, mistake: str, file: str) -> Any:
    try:
        return read_yaml(text)
    except TooMuch as error:
        raise ConfigError("", str(error), file) from error
    except YamlError as error:
        raise ConfigError(key, f"{mistake}: {error}", file) from error


def _merge(base: Any, over: Any) -> Any:
    """``over`` wins; mappings merge, unless ``name`` differs: then the arguments are another's."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return copy.deepcopy(over)
    if "name" in over and "name" in base and over["name"] != base["name"]:
        base = _without_arguments(base)
    merged = dict(base)
    for key, value in over.items():
        merged[key] = _merge(merged[key], value) if key in merged else copy.deepcopy(value)
    return merged


def _without_arguments(section: dict[str, Any]) -> dict[str, Any]:
    """What stays of a section when its ``name`` changes: keys that no class of the name reads."""
    kept = {"transform_ops", *ThresholdSection.model_fields}
    return {key: value for key, value in section.items() if key in kept}


def _keys(tree: Any, prefix: str = "") -> Iterator[str]:
    for key, value in items_of(tree):
        yield f"{prefix}{key}"
        yield from _keys(value, f"{prefix}{key}.")


def _pairs(overrides: Mapping[str, Any] | Sequence[str]) -> Iterator[tuple[list[str], Any]]:
    """The parts of each dotted key, with its value."""
    if isinstance(overrides, Mapping):
        for key, value in overrides.items():
            yield _parts(key, key), _plain(value)
        return
    for text in overrides:
        key, equals, value = text.partition("=")
        parts = _parts(key if equals else "", text)
        yield parts, _parse_yaml(value, key, "the value is not valid YAML", COMMAND_LINE)


def _parts(key: str, text: str) -> list[str]:
    parts = key.strip().split(".")
    if not all(parts):
        raise ConfigError("", f"{text!r} must read Section.key=value")
    return parts


def _override(tree: dict[str, Any], parts: list[str], value: Any) -> None:
    node: Any = tree
    for depth, part in enumerate(parts[:-1]):
        index = _index(node, part, parts[: depth + 1])
        if isinstance(node, dict) and node.get(part) is None:
            node[part] = {}
        node = node[index]
    last = _index(node, parts[-1], parts)
    if last == "name" and isinstance(node, dict) and node.get("name") != value:
        kept = _without_arguments(node)
        node.clear()
        node.update(kept)
    node[last] = value


def _index(node: Any, part: str, so_far: list[str]) -> str | int:
    key = ".".join(so_far)
    if isinstance(node, dict):
        return part
    if isinstance(node, list):
        if re.fullmatch("[0-9]{1,9}", part) and int(part) < len(node):
            return int(part)
        raise ConfigError(key, f"the list has items 0 to {len(node) - 1}")
    raise ConfigError(key, f"{'.'.join(so_far[:-1])} holds {node!r}, not a section")
