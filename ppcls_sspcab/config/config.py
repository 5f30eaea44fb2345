"""One YAML with PaddleClas's sections, checked: ``config.Global.seed`` reads as the YAML does.

Nothing in a configuration is evaluated: values are what YAML's safe loader makes of them.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import PrivateAttr, ValidationError

from ppcls_sspcab.arguments import explain, refuse_extremes, refuse_misspelt
from ppcls_sspcab.config.schema import Section, Sections, ThresholdSection
from ppcls_sspcab.errors import ConfigError, did_you_mean
from ppcls_sspcab.paths import RunFolder

_UNKNOWN = ("extra_forbidden", "invalid_key")
_TO_START_FROM = "; start from a shipped file, as in _BASE_: cutpaste_sspcab.yaml"


class Config(Sections):
    """A checked configuration: :class:`Sections`, and where each value came from.

    Args:
        tree: the nested mappings and lists of all sections.
        origins: dotted key -> file that set it; used by error messages.

    Raises:
        ConfigError: an unknown or missing section, or a wrong key or value in a plain section.
    """

    _tree: dict[str, Any] = PrivateAttr()
    _origins: dict[str, str] = PrivateAttr()

    def __init__(self, tree: dict[str, Any], origins: Mapping[str, str] | None = None) -> None:
        origins = dict(origins or {})
        with _naming_files(origins):
            refuse_extremes(tree, "")
            # This section also holds the arguments of its method, of whatever name.
            if isinstance(threshold := tree.get("Threshold"), Mapping):
                refuse_misspelt(threshold, ["name", *ThresholdSection.model_fields], "Threshold")
            # A section that is null is absent: it has its defaults, or is missing.
            present = {
                str(name): value
                for name, value in tree.items()
                if value is not None or name not in Sections.model_fields
            }
            try:
                super().__init__(**present)
            except ValidationError as error:
                raise _first_mistake(error) from None
        self._tree, self._origins = tree, origins

    @property
    def tree(self) -> dict[str, Any]:
        """The nested mappings and lists of all sections, as they were given."""
        return self._tree

    @property
    def origins(self) -> Mapping[str, str]:
        """Dotted key -> file that set it."""
        return self._origins

    def with_values(self, **values: Any) -> Config:
        """A copy with values of section ``Global`` replaced."""
        tree = copy.deepcopy(self.tree)
        tree["Global"].update(values)
        return Config(tree, self._origins)

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
        """Imports the modules that ``Global.plugins`` names: :func:`load_plugins`."""
        with self.naming_files():
            load_plugins(self.Global.plugins)

    def origin(self, key: str) -> str | None:
        """The file that set a key, or the nearest section above it."""
        return _origin(self._origins, key)

    def naming_files(self) -> AbstractContextManager[None]:
        """Context in which a ConfigError that passes is given the file that set its key."""
        return _naming_files(self._origins)


def load_plugins(modules: list[str]) -> None:
    """Imports modules, which register their classes; they may lie in the working directory.

    Raises:
        ConfigError: a module that cannot be found or read.
    """
    if modules and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    for index, module in enumerate(modules):
        key = f"Global.plugins.{index}"
        if module.endswith(".py"):
            raise ConfigError(key, f"name the module, {module[:-3]!r}, and not its file")
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise ConfigError(
                key,
                f"no module {error.name!r}; it must lie on PYTHONPATH or in the working directory",
            ) from error
        except (ImportError, SyntaxError, ValueError) as error:
            raise ConfigError(key, f"{module!r} cannot be imported: {error}") from error


@contextmanager
def _naming_files(origins: Mapping[str, str]) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        error.file = error.file or _origin(origins, error.key)
        raise


def _origin(origins: Mapping[str, str], key: str) -> str | None:
    while key and key not in origins:
        key = key.rpartition(".")[0]
    return origins.get(key)


def _first_mistake(error: ValidationError) -> ConfigError:
    """The first unknown key, which may be a misspelt one that is missing; else the first error."""
    mistakes = error.errors(include_url=False)
    unknown = [mistake for mistake in mistakes if mistake["type"] in _UNKNOWN]
    mistake = (unknown or mistakes)[0]
    *section, name = [part for part in mistake["loc"] if part != "[key]"]
    key = ".".join(map(str, (*section, name)))
    if unknown:
        hint = did_you_mean(str(name), _section_at(section).model_fields)
        return ConfigError(key, f"unknown {'key' if section else 'section'}{hint}")
    of_a_section = not section and mistake["type"] in ("missing", "dict_type", "model_type")
    return ConfigError(key, explain(mistake) + _TO_START_FROM * of_a_section)


def _section_at(keys: list[Any]) -> type[Section]:
    section: type[Section] = Sections
    for key in keys:
        annotation = section.model_fields[key].annotation
        kinds = filter(inspect.isclass, (annotation, *get_args(annotation)))
        section = next(kind for kind in kinds if issubclass(kind, Section))
    return section
