"""Typed registries: the one place where a name in a YAML becomes a class.

Each registry states in ``contract`` what may be registered there; a class that lacks some of it is
refused where its name is looked up. A package that belongs to a registry is imported, with every
module in it, at the first look-up, so that adding a class takes one new file in that folder and
nothing else. docs/plugins.md has an example for each registry.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from ppcls_sspcab.arguments import check_arguments, parameters_of, refuse_misspelt
from ppcls_sspcab.contract import Contract
from ppcls_sspcab.errors import ConfigError, did_you_mean

T = TypeVar("T", bound=Callable[..., Any])
_PLAIN = (bool, int, float, str, list, tuple, dict, type(None))  # what a YAML may hold


class UnknownName(ConfigError):
    """A name that nothing is registered under.

    Args:
        key: dotted key of the configuration where the name stands.
        kind: what is looked for, in the singular.
        known: the registered names.
        note: added to the message.
    """

    def __init__(
        self, key: str, kind: str, name: object, known: Iterable[str], note: str = ""
    ) -> None:
        super().__init__(key, f"unknown {kind} {name!r}{did_you_mean(str(name), known)}{note}")
        self.what = f"unknown {kind} {name!r}"


class Registry(Generic[T]):
    """Classes (or functions) of one kind, found by the name that a YAML gives.

    Args:
        kind: what it holds, in the singular, as error messages say it ("density").
        contract: what a registered class takes, has and returns.
        package: the package whose modules register into it; imported at the first look-up.
        sections: dotted keys of a configuration that name such a class, or hold a list of them.
    """

    def __init__(
        self,
        kind: str,
        contract: Contract,
        package: str | None = None,
        sections: Sequence[str] = (),
    ) -> None:
        self.kind = kind
        self.contract = contract
        self.sections = sections
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
            UnknownName: nothing of that name; the near matches are listed.
            ConfigError: what is registered breaks the contract.
        """
        self._import_package()
        key = key or self.kind
        try:
            entry = self._entries[name]
        except (KeyError, TypeError):
            raise UnknownName(key, self.kind, name, self._entries) from None
        self._refuse(self.contract.breach_of(entry), entry, key)
        return entry

    def build(self, section: Mapping[str, Any], key: str, **context: Any) -> Any:
        """Builds what ``section`` describes.

        Args:
            section: ``{"name": registered name, argument: value, ...}``.
            key: dotted key of the section, for error messages.
            context: arguments the program knows (``class_num``, ``seed``...); each is passed only
                if the constructor takes it and the section does not set it.

        Raises:
            ConfigError: an unknown name or argument, a wrong type, a value the class refuses, or a
                class that breaks the contract.
        """
        entry, arguments = self.resolve(section, key, context)
        try:
            built = entry(**arguments)
        except (ValueError, OverflowError, MemoryError) as error:
            reason = str(error) or "takes more memory than there is"
            raise ConfigError(key, reason) from error
        self._refuse(self.contract.breach_of_object(built), entry, key)
        return built

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

    def written_out(self, section: Mapping[str, Any], key: str) -> dict[str, Any]:
        """A section with the defaults of the arguments that it leaves to its class.

        What is stored so stays as it was made when a later version has other defaults. Arguments
        that the program gives are not added, nor are defaults that no YAML holds.

        Raises:
            UnknownName: nothing is registered by the section's name.
        """
        entry = self.get(section["name"], f"{key}.name")
        given = self.contract.given_to(entry)
        defaults = {
            name: list(one.default) if isinstance(one.default, tuple) else one.default
            for name, one in parameters_of(entry)[0].items()
            if name not in given and isinstance(one.default, _PLAIN)
        }
        return {**defaults, **section}

    def _refuse(self, breach: str | None, entry: T, key: str) -> None:
        if breach:
            raise ConfigError(key, f"the {self.kind} {_origin(entry)} {breach}")

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
    Contract(
        "A function ``(pretrained: bool | str = False, **kwargs) -> paddle.nn.Layer`` whose layer "
        "maps float32 [N, 3, H, W] to one feature map [N, C, h, w], before pooling, and has the "
        "attribute ``num_features: int`` (C); ``default_replace``, where ``Arch.Block.replace: "
        "auto`` puts the block, may be None or absent.",
        takes=("pretrained",),
        attributes=("num_features",),
    ),
    package="ppcls_sspcab.arch",
    sections=("Arch.Backbone",),
)

BLOCKS: Registry = Registry(
    "block",
    Contract(
        "A ``paddle.nn.Layer`` built as ``Block(channels: int, **kwargs)`` that maps [N, channels, "
        "h, w] to the same shape and, after each forward, has ``last = (input, output)``, a plain "
        "tuple and no property, which ``to_static`` could not follow.",
        base="paddle.nn.Layer",
        takes=("channels",),
        methods={"forward": ("x",)},
    ),
    package="ppcls_sspcab.arch",
    sections=("Arch.Block",),
)

HEADS: Registry = Registry(
    "head",
    Contract(
        "A ``paddle.nn.Layer`` built as ``Head(embedding_size: int, class_num: int, **kwargs)`` "
        "that maps the embedding [N, embedding_size] to logits [N, class_num].",
        base="paddle.nn.Layer",
        takes=("embedding_size", "class_num"),
        methods={"forward": ("embedding",)},
    ),
    package="ppcls_sspcab.arch",
    sections=("Arch.Head",),
)

ARCHITECTURES: Registry = Registry(
    "architecture",
    Contract(
        "A ``paddle.nn.Layer`` built from the section ``Arch``. ``embed(images)`` maps float32 "
        "[N, 3, H, W] to the embedding [N, D], by way of the layer ``backbone``; "
        "``forward(images, label=None)`` returns the dict that the losses read, ``logits`` [N, K] "
        "and ``embedding`` among it. It has ``embedding_size`` (D) and ``class_num`` (K). For the "
        "image score ``logit`` it needs the layer ``head``, for SSPCABError the list ``blocks``, "
        "for ``Global.freeze_steps`` the methods ``freeze_backbone`` and ``unfreeze_backbone``.",
        base="paddle.nn.Layer",
        methods={"forward": ("images", "[label]"), "embed": ("images",)},
        attributes=("backbone", "embedding_size", "class_num"),
    ),
    package="ppcls_sspcab.arch",
    sections=("Arch",),
)

LOSSES: Registry = Registry(
    "loss",
    Contract(
        "A ``paddle.nn.Layer`` built as ``Loss(**kwargs)``; ``forward(output, label)`` takes the "
        "dict that the architecture returned and labels int64 [N, 1], and returns a dict with "
        "exactly one key, the loss's class name, and a scalar.",
        base="paddle.nn.Layer",
        methods={"forward": ("output", "label")},
    ),
    package="ppcls_sspcab.loss",
    sections=("Loss.Train",),
)

DATASETS: Registry = Registry(
    "dataset",
    Contract(
        "A class built as ``Dataset(data_root: str, category: str, **kwargs)`` that only lists "
        "files: ``train`` (good pictures alone) and ``test`` are lists of "
        "``ppcls_sspcab.data.samples.Sample``; ``categories(data_root)``, a class method, returns "
        "the names that ``category: all`` runs through. Raises DataError.",
        takes=("data_root", "category"),
        class_methods={"categories": ("data_root",)},
        attributes=("train", "test"),
    ),
    package="ppcls_sspcab.data.datasets",
    sections=("DataLoader.Train.dataset",),
)

TRANSFORMS: Registry = Registry(
    "transform",
    Contract(
        "A class whose ``draw(rng: numpy Generator, height, width)`` returns every random "
        "parameter and whose ``apply(image uint8 [H, W, 3], parameters)`` uses them and draws "
        "nothing. An augmentation returns uint8 [H, W, 3]; a view transform, last in the list, "
        "returns uint8 [V, H, W, 3] and has ``labels`` (V class numbers) and ``class_num``; with a "
        "true ``wants_other``, ``apply`` takes another good picture as its third argument. "
        "``prepare(pictures)``, if there is one, is called once with the good pictures that are "
        "trained on, in the main process of each rank.",
        methods={"draw": ("rng", "height", "width"), "apply": ("image", "parameters")},
    ),
    package="ppcls_sspcab.data.transforms",
    sections=("DataLoader.Train.dataset.transform_ops",),
)

DENSITIES: Registry = Registry(
    "density",
    Contract(
        "A ``Density`` built as ``Density(embedding_size: int, **kwargs)``; "
        "``estimate(points float64 [N, D])`` returns the values of its buffers for good pictures, "
        "``distances(points float32 [N, D])`` their anomaly scores float32 [N], larger is worse. "
        "Points are embeddings, already normalised.",
        base="ppcls_sspcab.detector.density.base.Density",
        takes=("embedding_size",),
        methods={"estimate": ("points",), "distances": ("points",)},
    ),
    package="ppcls_sspcab.detector.density",
    sections=("Density",),
)

THRESHOLDS: Registry = Registry(
    "threshold",
    Contract(
        "A ``Threshold``; ``fit(good_scores float64 [N])`` returns a ``Calibration``. One that "
        "defines ``fit(good_scores, bad_scores)`` is given the scores of the pictures that "
        "``Threshold.validation`` names.",
        base="ppcls_sspcab.detector.threshold.base.Threshold",
        methods={"fit": ("good_scores", "[bad_scores]")},
    ),
    package="ppcls_sspcab.detector.threshold",
    sections=("Threshold",),
)

IMAGE_SCORES: Registry = Registry(
    "image score",
    Contract(
        "An ``ImageScore``, built from the section ``Score`` with those of ``density``, a function "
        "that builds the density of section ``Density``, the ``network`` and its ``image_size`` "
        "which its constructor takes. ``forward(features, anomaly_map)`` returns anomaly scores "
        "float32 [N], larger is worse, of the features that ``needs`` names; ``fit(features)`` may "
        "learn good pictures.",
        base="ppcls_sspcab.detector.scores.base.ImageScore",
        takes=("[network]", "[image_size]", "[density]", "[scores]"),
        methods={"forward": ("features", "anomaly_map")},
    ),
    package="ppcls_sspcab.detector.scores",
    sections=("Score", "Score.parts"),
)

LOCALIZERS: Registry = Registry(
    "localizer",
    Contract(
        "A ``Localizer``, built as ``Localizer(network, image_size, **kwargs)``. "
        "``distances(cells float32 [N, d, h, w])`` returns how far each cell is from good ones, "
        "float32 [N, h, w], larger is worse, of which the base makes the map [N, H, W]. "
        "``cells(features)`` may say what is kept of the features that ``needs`` names, "
        "``fit(cells)`` may learn good pictures.",
        base="ppcls_sspcab.detector.localize.base.Localizer",
        takes=("[network]", "[image_size]"),
        methods={"distances": ("cells",)},
    ),
    package="ppcls_sspcab.detector.localize",
    sections=("Localize",),
)

METRICS: Registry = Registry(
    "metric",
    Contract(
        "A function ``(labels int [N], scores float [N]) -> float``; label 1 is a bad part, and "
        "larger scores are worse parts.",
        methods={"__call__": ("labels", "scores")},
    ),
    package="ppcls_sspcab.metric",
    sections=("Metric.Eval",),
)

POSTPROCESSES: Registry = Registry(
    "post-process",
    Contract(
        "A class built as ``PostProcess(threshold: float, scale: float, **kwargs)``; called with "
        "N paths and the Detector's output (arrays of N rows), it returns N records, each a "
        "``ppcls_sspcab.result.Result``, or a ``Failure`` where there is no verdict.",
        takes=("[threshold]", "[scale]"),
        methods={"__call__": ("paths", "outputs")},
    ),
    package="ppcls_sspcab.data.postprocess",
    sections=("Infer.PostProcess",),
)

OPTIMIZERS: Registry = Registry(
    "optimizer",
    Contract(
        "A function ``(parameters, learning_rate, weight_decay, grad_clip, **kwargs)`` that "
        "returns a ``paddle.optimizer.Optimizer``.",
        takes=("parameters", "learning_rate", "weight_decay", "grad_clip"),
    ),
    package="ppcls_sspcab.optimizer",
    sections=("Optimizer",),
)

SCHEDULES: Registry = Registry(
    "schedule",
    Contract(
        "A function ``(learning_rate: float, total_steps: int, steps_per_epoch: int, **kwargs)`` "
        "that returns a ``paddle.optimizer.lr.LRScheduler``, which is stepped once a training "
        "step. What it does not need of these it may leave out.",
        takes=("[total_steps]", "[steps_per_epoch]"),
    ),
    package="ppcls_sspcab.optimizer",
    sections=("Optimizer.lr",),
)

REGISTRIES = [value for value in globals().copy().values() if isinstance(value, Registry)]
