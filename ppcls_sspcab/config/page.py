"""``docs/configuration.md``, written from the JSON Schema: ``ppcls-sspcab schema --markdown``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

Schema = dict[str, Any]
Row = tuple[str, str, str, str]

_HEAD = """\
<!-- Written by `ppcls-sspcab schema --markdown`; texts: `ppcls_sspcab/config/` and docstrings. -->

# Configuration

One YAML with PaddleClas's sections. `_BASE_: other.yaml` (or a list) inherits; mappings merge,
lists and plain values replace, and a section whose `name` differs from the inherited one starts
afresh, so that no argument of another class stays behind (what every class shares stays:
`transform_ops`, and in `Threshold` how the pictures are held out). A file that is neither beside
the one that names it nor in the working directory is looked for among the shipped ones, so
`_BASE_: cutpaste_sspcab_cpu.yaml` works from any folder, and so does `-c demo.yaml`.

`-o Section.key=value` overrides from the command line; list items go by number, as in
`-o Loss.Train.1.SSPCABLoss.weight=1`, and the value is parsed as YAML. `--print-config` shows the
outcome. From Python: `load_config("own.yaml", {"Global.seed": 1})`. A wrong key or value is one
line with the file, the key and the nearest right one; the exit code is 2.

Classes of your own are used by their names as soon as `Global.plugins` names their module.

`ppcls-sspcab schema --output configuration.schema.json` writes a JSON Schema (draft 2020-12), by
which an editor completes and checks keys; with `--plugin MODULE`, your own classes too. A YAML
names it in its first line: `# yaml-language-server: $schema=configuration.schema.json`.
"""

_FILES = """\
## Files in `configs/`

| file | what |
|---|---|
| `cutpaste_sspcab.yaml` | the papers' recipe, 256 x 256 steps, for a GPU |
| `cutpaste_sspcab_cpu.yaml` | a category in about 15 minutes on 2 cores, with pretrained weights |
| `fast.yaml` | nothing is trained: Gaussians of every place of the pretrained features |
| `from_scratch.yaml` | as that, without pretrained weights: every stage is trained |
| `patch_cutpaste.yaml` | the network trained on patches, for the map |
| `tiles.yaml` | large pictures, seen in tiles |
| `demo.yaml` | generated pictures, from scratch |
| `mvtec/` | MVTec AD at full length (`paper.yaml`, 256 x 256 steps) and with 10,000 steps \
(`short.yaml`), for `study` ([study.md](study.md)); not run on a GPU yet |
| `variants/` | CutPaste `normal`, `scar`, `union`, `3way`; `paper_pastes`: the CPU recipe \
with the paper's patches ([data.md](data.md)); `patch_bank`: a memory bank, nothing is trained |
| `ablations/` | without SSPCAB, kernel density, deeper head |
"""


def markdown(schema: Schema) -> str:
    """The page of all sections, a table each, and of the classes that they name.

    Args:
        schema: what :func:`ppcls_sspcab.config.json_schema.json_schema` returns.
    """
    parts = [_HEAD]
    for name, section in schema["properties"].items():
        if name != "_BASE_":
            parts.append(f"## {name}\n\n{_text(section)}\n")
            parts.append(_table(_rows(section)))
            parts += _classes(section)
    return "\n".join(part for part in (*parts, _FILES) if part)


def _rows(section: Schema, prefix: str = "") -> Iterator[Row]:
    """A row a key; keys of a mapping within it are dotted."""
    for name, key in _object(section).get("properties", {}).items():
        keys = _object(key).get("properties")
        # A section of fixed keys is nothing but these.
        if not keys or "allOf" in _object(key) or "default" in key:
            yield f"`{prefix}{name}`", _type(key), _default(key), _text(key)
        if keys:
            yield from _rows(key, f"{prefix}{name}.")


def _classes(section: Schema, path: str = "") -> Iterator[str]:
    """The tables of the classes that a section, or one within it, may name."""
    found = _object(section)
    chosen = [
        (choice["if"]["properties"]["name"]["const"], choice["then"])
        for choice in found.get("allOf", ())
    ]
    for item in _alternatives(found.get("items", {})):
        chosen += item.get("properties", {}).items()
    for part, alike in groupby(chosen, key=lambda pair: pair[1]):
        names = ", ".join(f"`{name}`" for name, _ in alike)
        own = {"properties": {k: v for k, v in part["properties"].items() if v is not True}}
        yield f"**{f'`{path}` ' if path else ''}{names}**: {_text(part)}\n"
        yield _table(_rows(own))
        yield from _within(own, path)
    yield from _within(found, path)


def _within(part: Schema, path: str) -> Iterator[str]:
    for name, key in part.get("properties", {}).items():
        if isinstance(key, dict):
            yield from _classes(key, f"{path}.{name}" if path else name)


def _object(key: Schema) -> Schema:
    """The alternative that has keys or items of its own; else the key itself."""
    for alternative in _alternatives(key):
        if "properties" in alternative or "items" in alternative:
            return alternative
    return key


def _alternatives(key: Schema) -> list[Schema]:
    return key.get("anyOf", [key])


def _type(key: Schema) -> str:
    return " or ".join(dict.fromkeys(word for part in _alternatives(key) for word in _words(part)))


def _words(part: Schema) -> list[str]:
    if "anyOf" in part:
        return [_type(part)]
    if "enum" in part or "const" in part:
        return [f"`{value}`" for value in part.get("enum", [part.get("const")])]
    kinds = part.get("type", "any")
    words = [_WORDS.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)]
    if "prefixItems" in part:
        words = [f"list of {len(part['prefixItems'])} {_type(part['prefixItems'][0])}s"]
    elif "items" in part and _is_simple(part["items"]):
        words = [f"{words[0]} of {_type(part['items'])}"]
    return [f"{words[0]}{_range(part)}", *words[1:]]


_WORDS = {
    "string": "text",
    "integer": "whole number",
    "boolean": "true or false",
    "object": "mapping",
    "array": "list",
}


def _is_simple(items: Schema) -> bool:
    return "properties" not in items and "anyOf" not in items and "type" in items


def _range(part: Schema) -> str:
    bounds = [
        f"{sign} {part[word]:g}"
        for word, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
        )
        if word in part
    ]
    return f" {', '.join(bounds)}" if bounds else ""


def _default(key: Schema) -> str:
    if "default" not in key:
        return ""
    default = key["default"]
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _text(key: Schema) -> str:
    return key.get("description", "").replace("|", "\\|")


def _table(rows: Iterable[Row]) -> str:
    lines = list(rows)
    if not lines:
        return ""
    head = ("key", "type", "default", "meaning")
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ("---",) * 4, *lines))
