"""What a class must have to be registered: data that a registry checks before anything is built."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from ppcls_sspcab.arguments import parameters_of


@dataclasses.dataclass(frozen=True)
class Contract:
    """What may be registered in a registry.

    Attributes:
        text: what a class takes and returns, for people.
        base: the class it derives from, as ``package.module.Class``; None where any will do.
        takes: arguments that the program passes by name; it may leave out those in brackets.
        methods: what it must define itself, with the arguments that the program passes by
            position, those in brackets perhaps; ``__call__`` of a function is the function.
        class_methods: the same of what is called on the class.
        attributes: what an object must have once it is built.
    """

    text: str
    base: str | None = None
    takes: tuple[str, ...] = ()
    methods: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    class_methods: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    attributes: tuple[str, ...] = ()

    def breach_of(self, entry: Callable[..., Any]) -> str | None:
        """What a class or function lacks, as the end of a sentence; None if it lacks nothing."""
        base = _imported(self.base) if self.base else None
        if base is not None and not (inspect.isclass(entry) and issubclass(entry, base)):
            return f"must derive from {self.base}"
        accepted, takes_any = parameters_of(entry)
        for name in self.takes:
            if name not in accepted and not takes_any and not name.startswith("["):
                return f"must take the argument {name!r}"
        for name, arguments in self.methods.items():
            method = _own(entry, name, base)
            bound = () if method is entry else ("self",)
            if method is None or not _can_be_called(method, (*bound, *arguments)):
                return f"must define {_call(name, arguments)}"
        for name, arguments in self.class_methods.items():
            method = getattr(entry, name, None)
            if method is None or not _can_be_called(method, arguments):
                return f"must define the class method {_call(name, arguments)}"
        return None

    def given_to(self, entry: Callable[..., Any]) -> set[str]:
        """Names of the arguments that the program passes; the others are the configuration's."""
        called = () if inspect.isclass(entry) else self.methods.get("__call__", ())
        return {name.strip("[]") for name in (*self.takes, *called)}

    def breach_of_object(self, built: object) -> str | None:
        """What an object that was built lacks, as the end of a sentence."""
        missing = [name for name in self.attributes if not hasattr(built, name)]
        return f"must have the attribute {missing[0]!r}" if missing else None


def _imported(path: str) -> type:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _own(entry: Callable[..., Any], name: str, base: type | None) -> Callable[..., Any] | None:
    """The method of a class, not the placeholder of its base; a function itself as its call."""
    if not inspect.isclass(entry):
        return entry if name == "__call__" else None
    for kind in entry.__mro__:
        if name in vars(kind):
            inherited = kind is object or (base is not None and issubclass(base, kind))
            return None if inherited else vars(kind)[name]
    return None


def _can_be_called(method: Any, arguments: tuple[str, ...]) -> bool:
    needed = [name for name in arguments if not name.startswith("[")]
    for passed in (needed, arguments):
        with suppress(TypeError, ValueError):
            inspect.signature(method).bind(*passed)
            return True
    return False


def _call(name: str, arguments: tuple[str, ...]) -> str:
    return f"{name}({', '.join(arguments)})"
