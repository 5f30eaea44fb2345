"""Arguments that come from YAML, checked against signatures and annotations."""

from __future__ import annotations

import difflib
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ppcls_sspcab.errors import ConfigError, did_you_mean

_LARGEST_FLOAT = 3.4e38  # of float32, in which the networks compute

_LARGEST_INT = 2**63 - 1


def check_arguments(
    target: Callable[..., Any],
    arguments: Mapping[str, Any],
    key: str,
    known: Sequence[str] | None = None,
) -> None:
    """Checks arguments against a signature and its annotations, without calling.

    Args:
        known: the names to suggest for an unknown one; default: all of the signature.

    Raises:
        ConfigError: an unknown or missing argument, or one of the wrong type.
    """
    accepted, takes_any = parameters_of(target)
    hints = _hints(target)
    for name, value in arguments.items():
        if name not in accepted:
            if takes_any:
                continue
            raise ConfigError(
                f"{key}.{name}", f"unknown key{did_you_mean(name, known or accepted)}"
            )
        check_type(value, hints.get(name, Any), f"{key}.{name}")
    for name, parameter in accepted.items():
        if parameter.default is inspect.Parameter.empty and name not in arguments:
            raise ConfigError(f"{key}.{name}", "is required and not set")


def refuse_misspelt(section: Mapping[str, Any], known: Sequence[str], key: str) -> None:
    """Refuses keys that are nearly, but not quite, one that no constructor checks.

    Raises:
        ConfigError: such a key, with what it should be.
    """
    for word in map(str, section):
        near = difflib.get_close_matches(word, known, n=1, cutoff=0.85)
        if near and word not in known:
            raise ConfigError(f"{key}.{word}", f"unknown key{did_you_mean(word, near)}")


def check_type(value: Any, hint: Any, key: str) -> None:
    """Checks a value that came from YAML against a type annotation.

    Raises:
        ConfigError: the value is of another type (an int passes as a float), an infinity, or
            beyond what float32 or int64 hold.
    """
    if not _matches(value, hint):
        raise ConfigError(key, f"must be {_describe(hint)}, not {value!r}")


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    function = target.__init__ if inspect.isclass(target) else target  # type: ignore[misc]
    try:
        return typing.get_type_hints(function)
    except NameError:  # a class without a constructor of its own: paddle.nn.Layer's names types
        return {}  # that are only imported for type checkers


def parameters_of(target: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], bool]:
    accepted: dict[str, inspect.Parameter] = {}
    takes_any = False
    for name, parameter in inspect.signature(target).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            takes_any = True
        elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
            accepted[name] = parameter
    return accepted, takes_any


def _matches(value: Any, hint: Any) -> bool:  # noqa: PLR0911 - one line a kind of annotation
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or isinstance(hint, TypeVar):
        return True
    if origin is typing.Literal:
        return any(value == part and type(value) is type(part) for part in parts)
    if origin in (typing.Union, types.UnionType):
        return any(_matches(value, part) for part in parts)
    if hint is None or hint is type(None):
        return value is None
    if hint is float:
        return (
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and abs(value) <= _LARGEST_FLOAT
        )
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST_INT
    container = origin or hint
    if container is Callable:
        return callable(value)
    if not inspect.isclass(container):
        return True
    if issubclass(container, (str, bytes)):
        return isinstance(value, container)
    if issubclass(container, Mapping):
        return isinstance(value, Mapping)
    if container in (list, tuple) or container.__module__ == "collections.abc":
        if not isinstance(value, (list, tuple)):
            return False
        item = parts[0] if parts else Any
        return all(_matches(element, item) for element in value)
    return isinstance(value, container)


def _describe(hint: Any) -> str:  # noqa: PLR0911 - one line a kind of annotation
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " or ".join(repr(part) for part in parts)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe(part) for part in parts)
    if hint is None or hint is type(None):
        return "null"
    plain = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    if hint in plain:
        return plain[hint]
    container = origin or hint
    if inspect.isclass(container) and issubclass(container, Mapping):
        return "a mapping"
    if container in (list, tuple) or getattr(container, "__module__", "") == "collections.abc":
        return "a list" + (f" of {_describe(parts[0])}" if parts and parts[0] is not Any else "")
    return getattr(container, "__name__", str(container))
