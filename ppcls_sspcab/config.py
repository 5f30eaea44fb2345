"""One YAML with PaddleClas's sections: ``_BASE_`` inheritance, ``-o`` overrides, checked keys.

Nothing in a configuration is evaluated: values are what YAML's safe loader makes of them.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from ppcls_sspcab.errors import ConfigError, did_you_mean
from ppcls_sspcab.registry import check_arguments, refuse_misspelt
from ppcls_sspcab.runtime.image import Preprocess
from ppcls_sspcab.utils.names import check_category

COMMAND_LINE = "-o on the command line"
LARGEST_BATCH = 65536
MOST_WORKERS = 256
# Nested aliases let a short YAML stand for more values than any memory holds.
MOST_VALUES, MOST_DEPTH = 100_000, 50
Section = TypeVar("Section")


@dataclasses.dataclass(frozen=True)
class GlobalSection:
    """Section ``Global``: what a user sets first, and the length and rhythm of a run.

    Attributes:
        data_root: folder of the data set; relative to the working directory.
        category: the product to inspect, or ``all``: each category in turn.
        output_dir: results go to ``<output_dir>/<category>/``.
        device: ``auto`` takes the GPU where Paddle has one.
        seed: every random number of a run follows from it.
        plugins: modules imported before anything is built; they register their own classes.
        epochs: number of epochs; 0 trains nothing: the baseline of the weights as they are.
        iter_per_epoch: steps of one epoch.
        freeze_steps: first steps in which the pretrained backbone, BN statistics too, stays.
        print_batch_step: steps between two log lines.
        save_interval: epochs between two ``epoch_N`` checkpoints; 0 keeps only ``latest``.
        eval_interval: epochs between two validations (and test evaluations, if asked for).
        eval_during_train: also evaluates on the test set while training: a diagnosis in the log
            that selects nothing.
        start_eval_epoch: no validation before this epoch.
        model_selection: ``last`` step, or ``val_synthetic``: the latest epoch of which no other is
            clearly better (by 0.01) in its AUROC on held-out good pictures against synthetic
            defects made from them.
        checkpoints: checkpoint to resume from: a path, or ``latest``.
        pretrained_model: the detector that evaluating, predicting and exporting take; default
            ``<output_dir>/<category>/detector.safetensors``. Training starts from
            ``Arch.pretrained``.
        cache_mb: bound of the decoded pictures kept in memory, in MiB.
        on_error: what an unreadable picture does: ``stop``, or ``skip`` and be listed.
        use_visualdl: also writes VisualDL scalars.
        to_static: trains with the network as a static graph; the losses are the same.
        save_inference_dir: folder of the exported model; default
            ``<output_dir>/<category>/inference``.
        engine: ``builtin``, or ``paddleclas``: the verbs run PaddleClas's own engine, of the
            checkout that the environment's ``PADDLECLAS_HOME`` names.
        paddleclas: further keys of section ``Global`` for PaddleClas's engine, such as
            ``{update_freq: 2}``; the built-in one does not read them.
    """

    data_root: str = "dataset"
    category: str = "all"
    output_dir: str = "output"
    device: Literal["auto", "cpu", "gpu"] = "auto"
    seed: int = 0
    plugins: list[str] = dataclasses.field(default_factory=list)
    epochs: int = 1
    iter_per_epoch: int = 256
    freeze_steps: int = 0
    print_batch_step: int = 10
    save_interval: int = 0
    eval_interval: int = 1
    eval_during_train: bool = False
    start_eval_epoch: int = 0
    model_selection: Literal["last", "val_synthetic"] = "last"
    checkpoints: str | None = None
    pretrained_model: str | None = None
    cache_mb: int = 2048
    on_error: Literal["stop", "skip"] = "stop"
    use_visualdl: bool = False
    to_static: bool = False
    save_inference_dir: str | None = None
    engine: Literal["builtin", "paddleclas"] = "builtin"
    paddleclas: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        _at_least(self, epochs=0, iter_per_epoch=1, print_batch_step=1, eval_interval=1)
        _at_least(self, seed=0, freeze_steps=0, save_interval=0, start_eval_epoch=0, cache_mb=0)
        for name in ("data_root", "output_dir"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")
        if not self.category:
            raise ValueError("category must not be empty; 'all' runs through every category")
        check_category(self.category)
        if self.pretrained_model and self.category == "all":
            raise ValueError("pretrained_model is one category's detector, and category is 'all'")
        if self.pretrained_model and self.engine == "paddleclas":
            raise ValueError(
                "pretrained_model is for the built-in engine; PaddleClas's takes weights from "
                "Global.paddleclas.pretrained_model"
            )


@dataclasses.dataclass(frozen=True)
class AMPSection:
    """Section ``AMP``: mixed precision, for a GPU: on a CPU, Paddle 3.3.1 may cast nothing."""

    use_amp: bool = False
    level: Literal["O1"] = "O1"
    scale_loss: float = 1024.0
    use_dynamic_loss_scaling: bool = True


@dataclasses.dataclass(frozen=True)
class EMASection:
    """Section ``EMA``: exponential moving average of the weights, which then is what is kept."""

    decay: float

    def __post_init__(self) -> None:
        if not 0 < self.decay < 1:
            raise ValueError(f"decay must lie between 0 and 1, not {self.decay}")


@dataclasses.dataclass(frozen=True)
class SamplerSection:
    """Section ``DataLoader.*.sampler``: ``batch_size`` source pictures a step and process."""

    batch_size: int

    def __post_init__(self) -> None:
        _at_least(self, batch_size=1)
        _at_most(self, batch_size=LARGEST_BATCH)


@dataclasses.dataclass(frozen=True)
class LoaderSection:
    """Section ``DataLoader.*.loader``: reader processes; 0 reads in the training process."""

    num_workers: int = 0

    def __post_init__(self) -> None:
        _at_least(self, num_workers=0)
        _at_most(self, num_workers=MOST_WORKERS)


@dataclasses.dataclass(frozen=True)
class CalibrationPlan:
    """The part of section ``Threshold`` that says which good pictures calibrate it.

    Attributes:
        calibrate_on: ``held_out`` pictures, which neither trained the network nor fitted the
            density, or ``k_fold``: every picture is scored by a density fitted on the others.
        held_out_share: share of the good training pictures held out.
        folds: number of folds for ``k_fold``.
        validation: ``{good: FOLDER, bad: FOLDER}``, for methods that need bad pictures too.
        pixel_fpr: share of the pixels of good pictures that may lie above the pixel threshold of
            the anomaly map.
    """

    calibrate_on: Literal["held_out", "k_fold"] = "held_out"
    held_out_share: float = 0.2
    folds: int = 5
    validation: dict[str, str] | None = None
    pixel_fpr: float = 0.005

    def __post_init__(self) -> None:
        if not 0 < self.pixel_fpr < 1:
            raise ValueError(f"pixel_fpr must lie between 0 and 1, not {self.pixel_fpr}")
        if not 0 <= self.held_out_share < 1:
            raise ValueError(f"held_out_share must lie in [0, 1), not {self.held_out_share}")
        if self.calibrate_on == "held_out" and not self.held_out_share:
            raise ValueError("held_out_share must be above 0 when calibrate_on is held_out")
        _at_least(self, folds=2)
        if self.validation is not None and set(self.validation) != {"good", "bad"}:
            raise ValueError("validation must be {good: FOLDER, bad: FOLDER}")


@dataclasses.dataclass(frozen=True)
class TilingSection:
    """Section ``Tiling``: the network sees tiles of a large picture.

    Attributes:
        size: (height, width) of a tile in pixels; a picture is ``Preprocess.image_size``.
        overlap: the least share of a tile's side that neighbours have in common.
    """

    size: list[int]
    overlap: float = 0.25

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"size must be [height, width], not {self.size}")
        if not 0 <= self.overlap <= 0.75:
            raise ValueError(f"overlap must lie in 0..0.75, not {self.overlap}")


@dataclasses.dataclass(frozen=True)
class InferSection:
    """Section ``Infer``: what ``tools/infer.py`` reads and how many pictures go at once."""

    infer_imgs: str | None = None
    batch_size: int = 16
    PostProcess: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        _at_least(self, batch_size=1)
        _at_most(self, batch_size=LARGEST_BATCH)


REQUIRED = (
    "Global",
    "Preprocess",
    "Arch",
    "Loss",
    "Optimizer",
    "DataLoader",
    "Density",
    "Threshold",
)
OPTIONAL = ("AMP", "EMA", "Metric", "Infer", "Score", "Localize", "Tiling")


class Config:
    """A checked configuration.

    Args:
        tree: the nested mappings and lists of all sections.
        origins: dotted key -> file that set it; used by error messages.

    Raises:
        ConfigError: an unknown or missing section, or a wrong key or value in a plain section.
    """

    def __init__(self, tree: dict[str, Any], origins: Mapping[str, str] | None = None) -> None:
        self.tree = tree
        self.origins = dict(origins or {})
        with self.naming_files():
            self._check_sections()
            self.run: GlobalSection = self._global_section()
            self.amp = self.section(AMPSection, "AMP")
            self.ema = self.section(EMASection, "EMA") if tree.get("EMA") else None
            self.tiling = self.section(TilingSection, "Tiling") if tree.get("Tiling") else None
            self.infer = self.section(InferSection, "Infer")
            self.preprocess: Preprocess = self.section(Preprocess, "Preprocess")
            self.calibration, self.threshold = self._threshold_sections()
            self._check_data_loader()

    def __getitem__(self, section: str) -> Any:
        return self.tree[section]

    def section(self, kind: type[Section], key: str) -> Section:
        """The plain section at a dotted key as its dataclass; all defaults if it is absent.

        Raises:
            ConfigError: an unknown key, a wrong type, or a value out of range.
        """
        values = self.get(key)
        values = {} if values is None else values
        if not isinstance(values, Mapping):
            raise ConfigError(key, f"must be a mapping, not {values!r}")
        return _checked(kind, values, key)

    def get(self, key: str) -> Any:
        """The value at a dotted key, or None."""
        value: Any = self.tree
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def with_values(self, **values: Any) -> Config:
        """A copy with values of section ``Global`` replaced."""
        tree = copy.deepcopy(self.tree)
        tree["Global"].update(values)
        return Config(tree, self.origins)

    def to_yaml(self) -> str:
        """The whole configuration, inheritance and overrides resolved, as YAML."""
        return yaml.safe_dump(self.tree, sort_keys=False, allow_unicode=True)

    def load_plugins(self) -> None:
        """Imports the modules that ``Global.plugins`` names, so that they register their classes.

        They are looked for in the working directory too, from wherever the program was started.

        Raises:
            ConfigError: a module that cannot be found.
        """
        if self.run.plugins and os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
        for index, module in enumerate(self.run.plugins):
            try:
                importlib.import_module(module)
            except ModuleNotFoundError as error:
                raise ConfigError(
                    f"Global.plugins.{index}",
                    f"no module {error.name!r}; it must lie on PYTHONPATH or in the working "
                    "directory",
                    self.origin("Global.plugins"),
                ) from error

    def origin(self, key: str) -> str | None:
        """The file that set a key, or the nearest section above it."""
        parts = key.split(".")
        while parts:
            if ".".join(parts) in self.origins:
                return self.origins[".".join(parts)]
            parts.pop()
        return self.origins.get("")

    def naming_files(self) -> _NamingFiles:
        """Context in which a ConfigError that passes is given the file that set its key."""
        return _NamingFiles(self)

    def _check_sections(self) -> None:
        known = REQUIRED + OPTIONAL
        for name in self.tree:
            if name not in known:
                raise ConfigError(str(name), f"unknown section{did_you_mean(str(name), known)}")
        for name in REQUIRED:
            if not isinstance(self.tree.get(name), Mapping):
                hint = "start from one of the files in configs/ with _BASE_"
                raise ConfigError(name, f"the section is missing or is no mapping; {hint}")
        for name in ("Score", "Localize", "EMA", "Metric"):
            value = self.tree.get(name)
            if value is not None and not isinstance(value, Mapping):
                raise ConfigError(name, f"must be a mapping or null, not {value!r}")
        for name in ("Loss", "Metric"):
            for key in self.tree.get(name) or ():
                if key not in ("Train", "Eval"):
                    hint = did_you_mean(str(key), ("Train", "Eval"))
                    raise ConfigError(f"{name}.{key}", f"unknown key{hint}")

    def _global_section(self) -> GlobalSection:
        if "test" in str(self.get("Global.model_selection")):
            raise ConfigError(
                "Global.model_selection",
                "nothing may select a model on the test set: the figures measured there would "
                "then be too good (about 4 points of AUROC on MVTec AD); use 'last' or "
                "'val_synthetic'",
            )
        return self.section(GlobalSection, "Global")

    def _threshold_sections(self) -> tuple[CalibrationPlan, dict[str, Any]]:
        fields = {field.name for field in dataclasses.fields(CalibrationPlan)}
        section = self.tree["Threshold"]
        refuse_misspelt(section, ["name", *fields], "Threshold")
        plan = {name: value for name, value in section.items() if name in fields}
        calibration = _checked(CalibrationPlan, plan, "Threshold")
        return calibration, {name: value for name, value in section.items() if name not in fields}

    def _check_data_loader(self) -> None:
        parts = {"Train": ("dataset", "sampler", "loader"), "Eval": ("sampler",)}
        for name in self.tree["DataLoader"]:
            if name not in parts:
                raise ConfigError(f"DataLoader.{name}", f"unknown key{did_you_mean(name, parts)}")
        for name, known in parts.items():
            section = self.get(f"DataLoader.{name}")
            if not isinstance(section, Mapping):
                raise ConfigError(f"DataLoader.{name}", "the section is missing or is no mapping")
            for part in section:
                if part not in known:
                    hint = did_you_mean(str(part), known)
                    raise ConfigError(f"DataLoader.{name}.{part}", f"unknown key{hint}")
        self.train_sampler = self.section(SamplerSection, "DataLoader.Train.sampler")
        self.train_loader = self.section(LoaderSection, "DataLoader.Train.loader")
        self.eval_sampler = self.section(SamplerSection, "DataLoader.Eval.sampler")


class _NamingFiles:
    def __init__(self, config: Config) -> None:
        self._config = config

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ConfigError) and error.file is None:
            error.file = self._config.origin(error.key)


def load_config(path: str | os.PathLike[str], overrides: Iterable[str] = ()) -> Config:
    """Reads a YAML file, its ``_BASE_`` files and the overrides.

    Args:
        path: the file.
        overrides: texts ``A.b.0.c=value``; the value is parsed by YAML's rules.

    Raises:
        ConfigError: a file that is missing or no YAML, or anything :class:`Config` refuses.
    """
    tree, origins = _read(Path(path), ())
    # A new name drops the arguments of the old one, so names go first.
    pairs = [_parse_override(text) for text in overrides]
    for parts, value in sorted(pairs, key=lambda pair: pair[0][-1] != "name"):
        _override(tree, parts, value)
        key = ".".join(parts)
        origins = {
            known: file for known, file in origins.items() if not known.startswith(key + ".")
        }
        origins[key] = COMMAND_LINE
    return Config(tree, origins)


def _checked(kind: type[Section], values: Mapping[str, Any], key: str) -> Section:
    check_arguments(kind, values, key)
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{key}.{error.key}", error.message) from error
    except ValueError as error:
        raise ConfigError(key, str(error)) from error


def _read(path: Path, including: tuple[Path, ...]) -> tuple[dict[str, Any], dict[str, str]]:
    resolved = path.resolve()
    if resolved in including:
        raise ConfigError("_BASE_", f"the file includes itself through {path}", str(including[-1]))
    tree = _parse(path)
    bases = tree.pop("_BASE_", [])
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {"": str(path)}
    bases = [bases] if isinstance(bases, str) else bases
    if not (isinstance(bases, list) and all(isinstance(base, str) for base in bases)):
        raise ConfigError("_BASE_", f"must be a file name or a list, not {bases!r}", str(path))
    for base in bases:
        base_tree, base_origins = _read(path.parent / base, (*including, resolved))
        merged = _merge(merged, base_tree)
        origins.update({key: file for key, file in base_origins.items() if key})
    origins.update({key: str(path) for key in _keys(tree)})
    return _merge(merged, tree), origins


def _parse(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = [str(file) for file in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise ConfigError("", f"no such file{did_you_mean(str(path), near)}", str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("", f"cannot be read: {error}", str(path)) from error
    try:
        tree = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError("", f"is not valid YAML: {reason}", str(path)) from error
    if not isinstance(tree, dict):
        raise ConfigError("", "must hold sections such as 'Global:'", str(path))
    _require_plain(tree, str(path))
    return tree


def _require_plain(tree: Any, file: str) -> None:
    """Does nothing if a tree ends: aliases may nest in it, even so that it contains itself."""
    waiting, seen = [(tree, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        if seen > MOST_VALUES or depth > MOST_DEPTH:
            raise ConfigError("", "holds more values, or deeper ones, than fit here", file)
        if isinstance(value, dict):
            waiting += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list):
            waiting += [(item, depth + 1) for item in value]


class _Loader(yaml.SafeLoader):
    """YAML's safe loader that also reads 3e-5 as a number and refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, (str, int, float, bool, type(None))):
                raise yaml.constructor.ConstructorError(
                    None, None, f"a key must be a plain text, not {key!r}", key_node.start_mark
                )
            if key in seen and key != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


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
    kept = {"transform_ops", *(field.name for field in dataclasses.fields(CalibrationPlan))}
    return {key: value for key, value in section.items() if key in kept}


def _keys(tree: Any, prefix: str = "") -> Iterator[str]:
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, list):
        items = enumerate(tree)
    for key, value in items:
        yield f"{prefix}{key}"
        yield from _keys(value, f"{prefix}{key}.")


def _parse_override(text: str) -> tuple[list[str], Any]:
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError("", f"{text!r} must read Section.key=value", COMMAND_LINE)
    try:
        parsed = yaml.load(value, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(key, f"the value is not valid YAML: {reason}", COMMAND_LINE) from error
    _require_plain(parsed, COMMAND_LINE)
    return parts, parsed


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
        if part.isdigit() and int(part) < len(node):
            return int(part)
        raise ConfigError(key, f"the list has items 0 to {len(node) - 1}", COMMAND_LINE)
    raise ConfigError(key, f"{'.'.join(so_far[:-1])} holds {node!r}, not a section", COMMAND_LINE)


def _at_least(section: Any, **bounds: int) -> None:
    for name, bound in bounds.items():
        if getattr(section, name) < bound:
            raise ValueError(f"{name} must be at least {bound}, not {getattr(section, name)}")


def _at_most(section: Any, **bounds: int) -> None:
    for name, bound in bounds.items():
        if getattr(section, name) > bound:
            raise ValueError(f"{name} must be at most {bound}, not {getattr(section, name)}")
