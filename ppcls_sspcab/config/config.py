"""One YAML with PaddleClas's sections: ``_BASE_`` inheritance, ``-o`` overrides, checked keys.

Nothing in a configuration is evaluated: values are what YAML's safe loader makes of them.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ppcls_sspcab.arguments import check_arguments, refuse_misspelt
from ppcls_sspcab.config.schema import (
    OPTIONAL,
    REQUIRED,
    AMPSection,
    CalibrationPlan,
    EMASection,
    GlobalSection,
    InferSection,
    LoaderSection,
    SamplerSection,
    TilingSection,
)
from ppcls_sspcab.errors import ConfigError, did_you_mean
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.paths import RunFolder

Section = TypeVar("Section")


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
            self.Global: GlobalSection = self._global_section()
            self.AMP = self.section(AMPSection, "AMP")
            self.EMA = self.section(EMASection, "EMA") if tree.get("EMA") else None
            self.Tiling = self.section(TilingSection, "Tiling") if tree.get("Tiling") else None
            self.Infer = self.section(InferSection, "Infer")
            self.Preprocess: Preprocess = self.section(Preprocess, "Preprocess")
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

    @property
    def folder(self) -> RunFolder:
        """The folder of the category's results."""
        return RunFolder(self.Global.output_dir, self.Global.category)

    @property
    def inference_folder(self) -> Path:
        """Where the exported model of a single category lies."""
        return Path(self.Global.save_inference_dir or self.folder.inference)

    @property
    def detector_to_use(self) -> Path:
        """The detector that evaluating, predicting and exporting take."""
        return Path(self.Global.pretrained_model or self.folder.detector)

    def load_plugins(self) -> None:
        """Imports the modules that ``Global.plugins`` names, so that they register their classes.

        They are looked for in the working directory too, from wherever the program was started.

        Raises:
            ConfigError: a module that cannot be found.
        """
        if self.Global.plugins and os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
        for index, module in enumerate(self.Global.plugins):
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


def _checked(kind: type[Section], values: Mapping[str, Any], key: str) -> Section:
    check_arguments(kind, values, key)
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{key}.{error.key}", error.message) from error
    except ValueError as error:
        raise ConfigError(key, str(error)) from error
