"""Typed registries: the one place where a name in a YAML becomes a class.

Each registry states in ``contract`` what may be registered there. A package that belongs to a
registry is imported, with every module in it, at the first look-up, so that adding a class takes
one new file in that folder and nothing else.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from ppcls_sspcab.errors import ConfigError, did_you_mean

T = TypeVar("T", bound=Callable[..., Any])

_LARGEST_FLOAT = 3.4e38  # of float32, in which the networks compute
_LARGEST_INT = 2**63 - 1


class Registry(Generic[T]):
    """Classes (or functions) of one kind, found by the name that a YAML gives.

    Args:
        kind: what it holds, in the singular, as error messages say it ("density").
        contract: what a registered class takes and returns.
        package: the package whose modules register into it; imported at the first look-up.
    """

    def __init__(self, kind: str, contract: str, package: str | None = None) -> None:
        self.kind = kind
        self.contract = contract
        self.__doc__ = contract
        self._package = package
        self._entries: dict[str, T] = {}

    def register(self, entry: T) -> T:
        """Decorator that registers a class or function under its own name.

        Raises:
            ValueError: the name is taken.
        """
        return self.register_as(entry.__name__)(entry)

    def register_as(self, name: str) -> Callable[[T], T]:
        """Like :meth:`register`, under another name than the class's own."""

        def add(entry: T) -> T:
            taken = self._entries.get(name)
            # A module that is executed twice (reload, or run as a script) replaces its own class.
            if taken is not None and _origin(taken) != _origin(entry):
                raise ValueError(f"{self.kind} {name!r} is already registered by {_origin(taken)}")
            self._entries[name] = entry
            return entry

        return add

    def names(self) -> list[str]:
        """All registered names, sorted."""
        self._import_package()
        return sorted(self._entries)

    def get(self, name: str, key: str | None = None) -> T:
        """The class registered as ``name``.

        Args:
            name: the registered name.
            key: dotted key of the configuration where the name stands, for the error.

        Raises:
            ConfigError: nothing of that name; the near matches are listed.
        """
        self._import_package()
        try:
            return self._entries[name]
        except (KeyError, TypeError):
            raise ConfigError(
                key or self.kind, f"unknown {self.kind} {name!r}{did_you_mean(name, self._entries)}"
            ) from None

    def build(self, section: Mapping[str, Any], key: str, **context: Any) -> Any:
        """Builds what ``section`` describes.

        Args:
            section: ``{"name": registered name, argument: value, ...}``.
            key: dotted key of the section, for error messages.
            context: arguments the program knows (``class_num``, ``seed``...); each is passed only
                if the constructor takes it and the section does not set it.

        Raises:
            ConfigError: an unknown name or argument, a wrong type, or a value the class refuses.
        """
        entry, arguments = self.resolve(section, key, context)
        try:
            return entry(**arguments)
        except (ValueError, OverflowError, MemoryError) as error:
            reason = str(error) or "takes more memory than there is"
            raise ConfigError(key, reason) from error

    def resolve(
        self, section: Mapping[str, Any], key: str, context: Mapping[str, Any]
    ) -> tuple[T, dict[str, Any]]:
        """The class and checked arguments of :meth:`build`, without building.

        Raises:
            ConfigError: as :meth:`build`.
        """
        if not isinstance(section, Mapping):
            raise ConfigError(key, f"must be a mapping with a 'name', not {section!r}")
        if "name" not in section:
            refuse_misspelt(section, ["name"], key)
            raise ConfigError(key, f"needs a 'name'{did_you_mean('', self.names())}")
        entry = self.get(section["name"], f"{key}.name")
        arguments = {name: value for name, value in section.items() if name != "name"}
        accepted, takes_any = _parameters(entry)
        for name, value in context.items():
            if name not in arguments and (name in accepted or takes_any):
                arguments[name] = value
        known = ["name", *(name for name in accepted if name not in context)]
        check_arguments(entry, arguments, key, known)
        return entry, arguments

    def _import_package(self) -> None:
        if self._package is None:
            return
        package_name, self._package = self._package, None
        package = importlib.import_module(package_name)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package_name}.{module.name}")


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
    accepted, takes_any = _parameters(target)
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


def _parameters(target: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], bool]:
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


def _origin(entry: Callable[..., Any]) -> str:
    return f"{entry.__module__}.{entry.__qualname__}"


BACKBONES: Registry = Registry(
    "backbone",
    "A function ``(pretrained: bool | str = False, **kwargs) -> paddle.nn.Layer`` whose layer maps "
    "float32 [N, 3, H, W] to one feature map [N, C, h, w], before pooling, and has the attribute "
    "``num_features: int`` (C); ``default_replace``, where ``Arch.Block.replace: auto`` puts the "
    "block, may be None or absent.",
    package="ppcls_sspcab.arch",
)
BLOCKS: Registry = Registry(
    "block",
    "A ``paddle.nn.Layer`` built as ``Block(channels: int, **kwargs)`` that maps [N, channels, h, "
    "w] to the same shape and, after each forward, has ``last = (input, output)``, a plain tuple "
    "and no property, which ``to_static`` could not follow.",
    package="ppcls_sspcab.arch",
)
HEADS: Registry = Registry(
    "head",
    "A ``paddle.nn.Layer`` built as ``Head(embedding_size: int, class_num: int, **kwargs)`` that "
    "maps the embedding [N, embedding_size] to logits [N, class_num].",
    package="ppcls_sspcab.arch",
)
ARCHITECTURES: Registry = Registry(
    "architecture",
    "A ``paddle.nn.Layer`` built from the section ``Arch``; ``forward(images, label=None)`` "
    "returns the dict that the losses read.",
    package="ppcls_sspcab.arch",
)
LOSSES: Registry = Registry(
    "loss",
    "A ``paddle.nn.Layer`` built as ``Loss(**kwargs)``; ``forward(output, label)`` takes the dict "
    "that the architecture returned and labels int64 [N, 1], and returns a dict with exactly one "
    "key, the loss's class name, and a scalar.",
    package="ppcls_sspcab.loss",
)
DATASETS: Registry = Registry(
    "dataset",
    "A class built as ``Dataset(data_root: str, category: str, **kwargs)`` that only lists files: "
    "``train`` and ``test`` are lists of ``Sample``, ``categories(data_root)`` (a classmethod) "
    "the names that ``category: all`` runs through. Raises DataError.",
    package="ppcls_sspcab.data",
)
TRANSFORMS: Registry = Registry(
    "transform",
    "A class whose ``draw(rng: numpy Generator, height, width)`` returns every random parameter "
    "and whose ``apply(image uint8 [H, W, 3], parameters)`` uses them and draws nothing. An "
    "augmentation returns uint8 [H, W, 3]; a view transform, last in the list, returns uint8 "
    "[V, H, W, 3] and has ``labels`` (V class numbers) and ``class_num``.",
    package="ppcls_sspcab.data",
)
DENSITIES: Registry = Registry(
    "density",
    "A ``paddle.nn.Layer`` with buffers; ``fit(embeddings float [N, D])`` fills them, "
    "``forward(embedding float32 [N, D])`` returns anomaly scores float32 [N], larger is worse.",
    package="ppcls_sspcab.density",
)
THRESHOLDS: Registry = Registry(
    "threshold",
    "A class whose ``fit(good_scores float [N])`` returns a ``Calibration``.",
    package="ppcls_sspcab.density",
)
IMAGE_SCORES: Registry = Registry(
    "image score",
    "A ``ppcls_sspcab.scoring.base.ImageScore``, built from the section ``Score`` with "
    "``density``, a function that builds the density of section ``Density``, and the ``network`` "
    "and its ``image_size`` if it takes them; "
    "``fit(features)`` learns good pictures, ``forward(features, anomaly_map)`` returns anomaly "
    "scores float32 [N], larger is worse.",
    package="ppcls_sspcab.scoring",
)
LOCALIZERS: Registry = Registry(
    "localizer",
    "A ``ppcls_sspcab.localize.base.Localizer``, built as ``Localizer(network, image_size, "
    "**kwargs)``; ``cells(features)`` is its part of the network's pass, ``fit(cells)`` learns "
    "good pictures, ``forward(cells)`` returns a map float32 [N, H, W], larger is worse.",
    package="ppcls_sspcab.localize",
)
METRICS: Registry = Registry(
    "metric",
    "A function ``(labels int [N], scores float [N]) -> float``; larger scores are worse parts.",
    package="ppcls_sspcab.metric",
)
POSTPROCESSES: Registry = Registry(
    "post-process",
    "A class built as ``PostProcess(threshold: float, scale: float, **kwargs)``; called with N "
    "paths and the Detector's output (arrays of N rows), it returns N records: dataclasses with "
    "``to_json()``.",
    package="ppcls_sspcab.data",
)
OPTIMIZERS: Registry = Registry(
    "optimizer",
    "A function ``(parameters, learning_rate, weight_decay, grad_clip, **kwargs)`` that returns a "
    "``paddle.optimizer.Optimizer``.",
    package="ppcls_sspcab.optimizer",
)
SCHEDULES: Registry = Registry(
    "schedule",
    "A function ``(learning_rate: float, total_steps: int, steps_per_epoch: int, **kwargs)`` that "
    "returns a ``paddle.optimizer.lr.LRScheduler`` which is stepped once a training step.",
    package="ppcls_sspcab.optimizer",
)
