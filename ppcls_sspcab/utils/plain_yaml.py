"""YAML of plain values, read within bounds: a short file must not stand for endless values."""

from __future__ import annotations

import re
from typing import Any

import yaml

# Nested aliases let a short YAML stand for more values than any memory holds.
MOST_CHARACTERS, MOST_VALUES, MOST_DEPTH = 1_000_000, 100_000, 50
_MOST_DIGITS = 400  # of a number; Python cannot even print one of 5,000

_MERGE = "tag:yaml.org,2002:merge"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class YamlError(ValueError):
    """A text that is no YAML, or more than is read; says in one line what is wrong with it."""


class TooMuch(YamlError):
    """More values, or deeper ones, than are read."""


def read_yaml(text: str) -> Any:
    """The mappings, lists and plain values of a YAML; ``3e-5`` is a number, too.

    Raises:
        YamlError: no YAML, a key that stands twice or is no plain value, too long a number.
        TooMuch: too long a text, or, with aliases written out, more than ``MOST_VALUES`` values
            or ``MOST_DEPTH`` levels.
    """
    if len(text) > MOST_CHARACTERS:
        raise TooMuch(f"holds more than {MOST_CHARACTERS:,} characters")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _Bounds(loader).size(node, 0)
        return loader.construct_document(node)
    except YamlError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise YamlError(" ".join(str(error).split())) from error


class _Loader(yaml.SafeLoader):
    """YAML's safe loader that also reads 3e-5 as a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


class _Bounds:
    """Checks a YAML before anything is made of it, each part once however often it is named."""

    def __init__(self, loader: _Loader) -> None:
        self.loader = loader
        self.found: dict[int, tuple[int, int]] = {}  # values and levels, by the node's identity
        self.open: set[int] = set()

    def size(self, node: yaml.Node, depth: int) -> tuple[int, int]:
        """Values and levels of a node with its aliases written out."""
        known = self.found.get(id(node))
        if known is None:
            if depth > MOST_DEPTH:
                raise TooMuch("holds more values, or deeper ones, than fit here")
            if id(node) in self.open:
                raise TooMuch("holds a value that contains itself")
            self.open.add(id(node))
            inner = [self.size(item, depth + 1) for item in self._items(node)]
            known = 1 + sum(values for values, _ in inner), 1 + max([0, *(d for _, d in inner)])
            self.open.discard(id(node))
            self.found[id(node)] = known
        if known[0] > MOST_VALUES or depth + known[1] > MOST_DEPTH:
            raise TooMuch("holds more values, or deeper ones, than fit here")
        return known

    def _items(self, node: yaml.Node) -> list[yaml.Node]:
        if isinstance(node, yaml.SequenceNode):
            return list(node.value)
        if not isinstance(node, yaml.MappingNode):
            if node.tag in _NUMBERS and len(node.value) > _MOST_DIGITS:
                raise YamlError(f"a number has more than {_MOST_DIGITS} digits, {_line(node)}")
            return []
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:  # <<: *other
                continue
            self.size(key_node, 0)
            key = self.loader.construct_object(key_node, deep=True)
            if not isinstance(key, (str, int, float, bool, type(None))):
                raise YamlError(f"a key must be a plain text, not {key!r}, {_line(key_node)}")
            if key in seen:
                raise YamlError(f"the key {key!r} stands twice, {_line(key_node)}")
            seen.add(key)
        return [value for _, value in node.value]


def _line(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"
