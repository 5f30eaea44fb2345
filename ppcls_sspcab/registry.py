"""Typed registries: the one place where a name in a YAML becomes a class.

Each registry states in ``contract`` what may be registered there. A package that belongs to a
registry is imported, with every module in it, at the first look-up, so that adding a class takes
one new file in that folder and nothing else.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from ppcls_sspcab.arguments import check_arguments, parameters_of, refuse_misspelt
from ppcls_sspcab.errors import ConfigError, did_you_mean

T = TypeVar("T", bound=Callable[..., Any])


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
        accepted, takes_any = parameters_of(entry)
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
    package="ppcls_sspcab.data.datasets",
)

TRANSFORMS: Registry = Registry(
    "transform",
    "A class whose ``draw(rng: numpy Generator, height, width)`` returns every random parameter "
    "and whose ``apply(image uint8 [H, W, 3], parameters)`` uses them and draws nothing. An "
    "augmentation returns uint8 [H, W, 3]; a view transform, last in the list, returns uint8 "
    "[V, H, W, 3] and has ``labels`` (V class numbers) and ``class_num``.",
    package="ppcls_sspcab.data.transforms",
)

DENSITIES: Registry = Registry(
    "density",
    "A ``paddle.nn.Layer`` with buffers; ``fit(embeddings float [N, D])`` fills them, "
    "``forward(embedding float32 [N, D])`` returns anomaly scores float32 [N], larger is worse.",
    package="ppcls_sspcab.detector.density",
)

THRESHOLDS: Registry = Registry(
    "threshold",
    "A class whose ``fit(good_scores float [N])`` returns a ``Calibration``.",
    package="ppcls_sspcab.detector.threshold",
)

IMAGE_SCORES: Registry = Registry(
    "image score",
    "A ``ppcls_sspcab.detector.scores.base.ImageScore``, built from the section ``Score`` with "
    "``density``, a function that builds the density of section ``Density``, and the ``network`` "
    "and its ``image_size`` if it takes them; "
    "``fit(features)`` learns good pictures, ``forward(features, anomaly_map)`` returns anomaly "
    "scores float32 [N], larger is worse.",
    package="ppcls_sspcab.detector.scores",
)

LOCALIZERS: Registry = Registry(
    "localizer",
    "A ``ppcls_sspcab.detector.localize.base.Localizer``, built as ``Localizer(network, "
    "image_size, **kwargs)``; ``cells(features)`` is its part of the network's pass, "
    "``fit(cells)`` learns good pictures, ``forward(cells)`` returns a map float32 [N, H, W], "
    "larger is worse.",
    package="ppcls_sspcab.detector.localize",
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
    package="ppcls_sspcab.data.postprocess",
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
