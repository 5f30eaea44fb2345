"""The JSON Schema of a configuration, for editors: sections, keys, and every registered class.

A part is asked for only at the root and only where no ``_BASE_`` may bring it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

from docstring_parser import parse
from docstring_parser.common import DocstringStyle
from pydantic import Field, TypeAdapter
from pydantic.errors import PydanticUserError

from ppcls_sspcab import registry
from ppcls_sspcab.arguments import hints_of, parameters_of
from ppcls_sspcab.config.schema import Section, Sections
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.registry import Registry

Schema = dict[str, Any]


class _Regularizer(Section):
    """Section ``Optimizer.regularizer``."""

    name: Literal["L2"]
    """The only one."""
    coeff: float = Field(ge=0, le=1)
    """Factor of the decay."""


class _Beside(Section):
    """Keys that stand beside a registered class's own arguments and that the program reads."""

    base_files: str | list[str]
    """File, or files, whose keys this one inherits and overrides."""
    weight: float = Field(ge=0, le=1e6)
    """Factor of the loss in the sum."""
    replace: str | list[str] = "auto"
    """Path of the convolution, or of several, whose place the block takes; `auto`: the backbone's
    penultimate 3x3 convolution."""
    regularizer: _Regularizer | None = None
    """Weight decay, as in `{name: L2, coeff: 3.0e-5}`; null: none."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Bound of the gradient's global norm; null: none."""
    paddleclas: Any
    """A key of PaddleClas's engine; not read."""


def json_schema() -> Schema:
    """The schema (draft 2020-12) of all that is registered now: import plug-ins first."""
    sections, beside = _keys_of(Sections), _keys_of(_Beside)
    required = [name for name, field in Sections.model_fields.items() if field.is_required()]
    for name, text in _documented(Preprocess).items():
        sections["Preprocess"]["properties"][name]["description"] = text
    _describe_registered(sections, beside)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of ppcls_sspcab",
        "type": "object",
        "properties": {"_BASE_": beside["base_files"], **sections},
        "additionalProperties": False,
        "anyOf": [{"required": ["_BASE_"]}, {"required": required}],
    }


def _keys_of(section: type[Section]) -> dict[str, Schema]:
    schema = section.model_json_schema()
    return _inlined(schema["properties"], schema.get("$defs", {}))


def _inlined(node: Any, definitions: Mapping[str, Schema]) -> Any:
    """A part of pydantic's schema without references, titles and required keys."""
    if isinstance(node, list):
        return [_inlined(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        rest = {key: value for key, value in node.items() if key != "$ref"}
        section = {**definitions[node["$ref"].rpartition("/")[2]], **rest}
        if section.pop("default", None) is not None:  # null stands for all its defaults
            section["type"] = ["object", "null"]
        return _inlined(section, definitions)
    found = {}
    for key, value in node.items():
        # Below "properties", "title" may be the name of a key.
        if (key == "title" and isinstance(value, str)) or key == "required":
            continue
        found[key] = _inlined(value, definitions)
    if isinstance(found.get("description"), str):
        found["description"] = " ".join(found["description"].split())
    return found


def _describe_registered(sections: dict[str, Schema], beside: dict[str, Schema]) -> None:
    """Gives the sections that name registered classes their names and arguments."""
    loader = sections["DataLoader"]["properties"]["Train"]["properties"]
    metric, infer = sections["Metric"]["properties"], sections["Infer"]["properties"]
    sections["Arch"] |= _architecture(beside)
    weight = {"weight": beside["weight"]}
    sections["Loss"]["properties"]["Train"] |= _listed(registry.LOSSES, weight)
    schedule = {
        "description": "Learning rate over the steps that are really run.",
        **_named(registry.SCHEDULES),
    }
    sections["Optimizer"] |= _named(
        registry.OPTIMIZERS,
        {"lr": schedule, **{name: beside[name] for name in ("regularizer", "clip_norm")}},
    )
    operations = {
        "description": "Augmentations, and last the transform that makes the views.",
        **_listed(registry.TRANSFORMS, by_name=True),
    }
    loader["dataset"] |= _named(registry.DATASETS, {"transform_ops": operations})
    sections["Density"] |= _named(registry.DENSITIES)
    _describe_optional(sections["Score"], _named(registry.IMAGE_SCORES))
    _describe_optional(sections["Localize"], _named(registry.LOCALIZERS))
    threshold = sections["Threshold"]
    threshold |= _named(registry.THRESHOLDS, threshold["properties"])
    _describe_optional(metric["Eval"], _listed(registry.METRICS, by_name=True))
    _describe_optional(infer["PostProcess"], _named(registry.POSTPROCESSES))


def _describe_optional(part: Schema, described: Schema) -> None:
    part.pop("type", None)
    part["anyOf"] = [described, {"type": "null"}]


def _architecture(beside: dict[str, Schema]) -> Schema:
    block = _named(registry.BLOCKS, {"replace": beside["replace"]})
    head = _named(registry.HEADS)
    backbone = _named(registry.BACKBONES)
    backbone["properties"]["name"] = {
        "description": "Also the name of any convolutional network of PaddleClas's.",
        "anyOf": [backbone["properties"]["name"], {"type": "string"}],
    }
    ignored = ("infer_output_key", "infer_add_softmax", "is_rec", "use_sync_bn")
    architecture = _named(registry.ARCHITECTURES, dict.fromkeys(ignored, beside["paddleclas"]))
    for choice in architecture["allOf"]:
        arguments = choice["then"]["properties"]
        for name, part in (
            ("Backbone", backbone),
            ("Block", {"anyOf": [block, {"type": "array", "items": block}, {"type": "null"}]}),
            ("Head", {"anyOf": [head, {"type": "null"}]}),
        ):
            if name in arguments:
                text = arguments[name].get("description", "")
                arguments[name] = {"description": text, **part}
        # CutPasteNet takes PaddleClas's keys and refuses any other one itself.
        choice["then"]["additionalProperties"] = False
    return architecture


def _named(kind: Registry, beside: Mapping[str, Schema] = MappingProxyType({})) -> Schema:
    """A mapping with the ``name`` of a registered class, and its arguments.

    Args:
        beside: keys of the mapping that are no arguments of the class.
    """
    choices = []
    for name in kind.names():
        arguments = _arguments(kind, name)
        known: Schema = {"name": True, **dict.fromkeys(beside, True), **arguments["properties"]}
        choices.append(
            {
                "if": {"properties": {"name": {"const": name}}, "required": ["name"]},
                "then": {**arguments, "properties": known},
            }
        )
    names = {"description": f"Name of the {kind.kind}.", "enum": kind.names()}
    return {
        "type": "object",
        "properties": {"name": names, **beside},
        "additionalProperties": True,
        "allOf": choices,
    }


def _listed(
    kind: Registry, beside: Mapping[str, Schema] = MappingProxyType({}), by_name: bool = False
) -> Schema:
    """A list of ``Name: {arguments}``, of names alone too with ``by_name``."""
    classes = {}
    for name in kind.names():
        arguments = _arguments(kind, name)
        classes[name] = {
            "type": ["object", "null"] if by_name else "object",
            **arguments,
            "properties": {**beside, **arguments["properties"]},
            "required": list(beside),  # a list is inherited whole or not at all
        }
    item = {
        "type": "object",
        "properties": classes,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    items = {"anyOf": [{"enum": kind.names()}, item]} if by_name else item
    return {"type": "array", "items": items}


def _arguments(kind: Registry, name: str) -> Schema:
    """The arguments of a class or function that a YAML may set, and what the class is."""
    entry = kind.get(name)
    given = kind.contract.given_to(entry) - {"pretrained"}  # which a YAML may set as well
    accepted, takes_any = parameters_of(entry)
    hints, texts = hints_of(entry), _documented(entry)
    properties = {}
    for argument, parameter in accepted.items():
        if argument in given:
            continue
        found = properties[argument] = _type_schema(hints.get(argument, Any))
        if argument in texts:
            found["description"] = texts[argument]
        default = parameter.default
        if default is not inspect.Parameter.empty:
            found["default"] = list(default) if isinstance(default, tuple) else default
    return {
        "description": _plain_text(parse(inspect.getdoc(entry) or "").short_description),
        "properties": properties,
        "additionalProperties": takes_any,
    }


def _type_schema(hint: Any) -> Schema:
    try:
        schema = TypeAdapter(hint).json_schema()
    except PydanticUserError:  # an annotation of a plug-in that JSON knows nothing of
        return {}
    return _inlined(schema, schema.get("$defs", {}))


def _documented(entry: Callable[..., Any]) -> dict[str, str]:
    """The text of each argument in the ``Args:`` of a docstring; some share one, ``a, b: ...``."""
    documents = [inspect.getdoc(entry) or ""]
    if inspect.isclass(entry):
        documents.append(inspect.getdoc(entry.__init__) or "")  # type: ignore[misc]
    return {
        name.strip(): _plain_text(argument.description)
        for document in documents
        for argument in parse(document, DocstringStyle.GOOGLE).params
        for name in argument.arg_name.split(",")
    }


def _plain_text(text: str | None) -> str:
    text = re.sub(r":\w+:`~?(?:\w+\.)*(\w+)`", r"`\1`", text or "")
    return " ".join(text.replace("``", "`").split())
