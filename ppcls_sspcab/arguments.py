"""Values that come from a YAML, checked against signatures and annotations by pydantic."""

from __future__ import annotations

import difflib
import inspect
import json
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ppcls_sspcab.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

_LARGEST_FLOAT = 3.4e38  # of float32, in which the networks compute
_LARGEST_INT = 2**63 - 1

# What a value must be, by the type of pydantic's error; ``{ge}`` is a part of its context.
_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "a text",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "sequence_str": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "none_required": "null",
    "callable_type": "a function",
    "literal_error": "{expected}",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "string_too_short": "a text of at least {min_length} character",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
}


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
    hints = hints_of(target)
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
    """Refuses misspelt keys in a section whose other keys are checked elsewhere.

    Raises:
        ConfigError: a key that is nearly, but not quite, a known one.
    """
    for word in map(str, section):
        near = difflib.get_close_matches(word, known, n=1, cutoff=0.85)
        if near and word not in known:
            raise ConfigError(f"{key}.{word}", f"unknown key{did_you_mean(word, near)}")


def check_type(value: Any, hint: Any, key: str) -> None:
    """Checks a value that came from YAML against a type annotation.

    Raises:
        ConfigError: the value is of another type (an int passes as a float, a list as a tuple),
            an infinity, or beyond what float32 or int64 hold.
    """
    from pydantic import ConfigDict, TypeAdapter
    from pydantic.errors import PydanticUserError

    refuse_extremes(value, key)
    strict = ConfigDict(strict=True, arbitrary_types_allowed=True)
    try:
        adapter = TypeAdapter(hint, config=strict)
    except PydanticUserError:  # an annotation that pydantic knows nothing of
        return
    errors = _errors(adapter, value)
    if errors:
        raise _wrong_type(errors, hint, key)


def items_of(value: Any) -> Iterable[tuple[Any, Any]]:
    """Keys and values of a mapping, numbers and items of a list; nothing of other values."""
    if isinstance(value, Mapping):
        return value.items()
    return enumerate(value) if isinstance(value, (list, tuple)) else ()


def refuse_extremes(value: Any, key: str) -> None:
    """Refuses numbers, also within mappings and lists, that float32 or int64 cannot hold.

    Raises:
        ConfigError: an infinity, NaN or too large a number, by its own dotted key.
    """
    for name, item in items_of(value):
        refuse_extremes(item, f"{key}.{name}" if key else str(name))
    if isinstance(value, (int, float)):
        largest = _LARGEST_INT if isinstance(value, int) else _LARGEST_FLOAT
        if not abs(value) <= largest:  # so that NaN is refused too
            raise ConfigError(key, f"must be a number of at most {largest:.2g}, not {value!r}")


def explain(error: ErrorDetails) -> str:
    """What is wrong with a value, in words, by pydantic's account of it."""
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "missing":
        return "is required and not set"
    return f"must be {_wanted(error)}, not {error['input']!r}"


def hints_of(target: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function, or of a class's constructor."""
    function = target.__init__ if inspect.isclass(target) else target  # type: ignore[misc]
    try:
        return typing.get_type_hints(function)
    except NameError:  # a class without a constructor of its own: paddle.nn.Layer's names types
        return {}  # that are only imported for type checkers


def parameters_of(target: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], bool]:
    """The named parameters of a function or constructor, and whether it takes any others."""
    accepted: dict[str, inspect.Parameter] = {}
    takes_any = False
    for name, parameter in inspect.signature(target).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            takes_any = True
        elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
            accepted[name] = parameter
    return accepted, takes_any


def _errors(adapter: TypeAdapter[Any], value: Any) -> list[ErrorDetails]:
    from pydantic import ValidationError

    try:
        adapter.validate_python(value)
        return []
    except ValidationError as error:
        errors = error.errors(include_url=False)
    if any(error["type"] in ("list_type", "tuple_type") for error in errors):
        # JSON knows one kind of list, as YAML does.
        try:
            adapter.validate_json(json.dumps(value))
            return []
        except ValidationError as error:
            return error.errors(include_url=False)
        except (TypeError, ValueError):  # an object that no YAML holds
            pass
    return errors


def _wanted(error: ErrorDetails) -> str:
    if error["type"] == "is_instance_of":
        name = error["ctx"]["class"]
        return "a list" if name == "Sequence" else name
    if error["type"] in _WANTED:
        return _WANTED[error["type"]].format(**error.get("ctx", {}))
    return error["msg"].removeprefix("Input should be ")


def _wrong_type(errors: list[ErrorDetails], hint: Any, key: str) -> ConfigError:
    """One error of all that pydantic says; of a union, what the members that came nearest say."""
    deepest = max(len(error["loc"]) for error in errors)
    errors = [error for error in errors if len(error["loc"]) == deepest]
    first = errors[0]
    place = ".".join([key, *(str(part) for part in first["loc"] if isinstance(part, int))])
    if first["type"] == "missing":
        return ConfigError(place, explain(first))
    wanted = [_wanted(error) for error in errors]
    if place == key and types.NoneType in typing.get_args(hint):
        wanted.append("null")
    return ConfigError(
        place, f"must be {' or '.join(dict.fromkeys(wanted))}, not {first['input']!r}"
    )
