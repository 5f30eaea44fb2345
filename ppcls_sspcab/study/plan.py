"""What a study runs: each configuration with its baselines, over categories and seeds."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.errors import ConfigError, did_you_mean
from ppcls_sspcab.paths import StudyFolder, StudyRunFolder

# Keys of Global that do not change a run's results.
WITHOUT_EFFECT = (
    "cache_mb",
    "category",
    "checkpoints",
    "device",
    "output_dir",
    "print_batch_step",
    "save_inference_dir",
    "save_interval",
    "seed",
    "use_visualdl",
)
# Keys of Global without effect on an untrained baseline.
TRAINING_ONLY = (
    "epochs",
    "eval_during_train",
    "eval_interval",
    "freeze_steps",
    "iter_per_epoch",
    "model_selection",
    "start_eval_epoch",
    "to_static",
)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A configuration, or a baseline made from it.

    Attributes:
        title: as tables name it.
        config: its category, seed and output folder are not used.
        identity: eight hexadecimal digits that follow from everything that changes its results.
    """

    title: str
    config: Config
    identity: str

    @property
    def folder(self) -> str:
        """Name of the folder of its runs: the title, and the identity."""
        return f"{re.sub(r'[^A-Za-z0-9._]+', '_', self.title)}-{self.identity}"


@dataclasses.dataclass(frozen=True)
class Run:
    """One training and evaluation, whose files go to ``folder``."""

    recipe: Recipe
    category: str
    seed: int
    folder: StudyRunFolder

    @property
    def config(self) -> Config:
        """The run's whole configuration."""
        return self.recipe.config.with_values(
            category=self.category, seed=self.seed, output_dir=str(self.folder.root.parent)
        )

    def __str__(self) -> str:
        return f"{self.recipe.title}, {self.category}, seed {self.seed}"


def read_configs(
    paths: Sequence[str], overrides: Sequence[str], data_root: str | None, diagnose: bool
) -> dict[str, Config]:
    """The configurations by the names of their files.

    Raises:
        ConfigError: as :func:`ppcls_sspcab.config.load.load_config`; two files of one name; a
            configuration of another engine, or one that takes a finished detector.
    """
    configs: dict[str, Config] = {}
    for path in paths:
        config = load_config(path, overrides)
        name = Path(path).stem
        if name in configs:
            raise ConfigError("", "two configurations have this file's name; rename one", path)
        if config.Global.engine != "builtin":
            raise ConfigError("Global.engine", "a study runs the built-in engine", path)
        if config.Global.pretrained_model:
            raise ConfigError("Global.pretrained_model", "a study trains its detectors", path)
        values: dict[str, Any] = {"eval_during_train": diagnose}
        if data_root is not None:
            values["data_root"] = data_root
        configs[name] = config.with_values(**values)
    return configs


def recipes(configs: dict[str, Config]) -> list[Recipe]:
    """The untrained baselines, then each configuration without SSPCAB, then as it is.

    A configuration that trains nothing has no baseline. One that is equal to another recipe is not
    run twice.
    """
    trained = {name: config for name, config in configs.items() if config.Global.epochs}
    baselines = {name: untrained(config) for name, config in trained.items()}
    alone = len({identity_of(config) for config in baselines.values()}) == 1
    titled = [
        ("untrained" if alone else f"{name} untrained", config)
        for name, config in baselines.items()
    ]
    for name, config in configs.items():
        if config.Global.epochs and config.Arch.get("Block") is not None:
            titled.append((f"{name} without SSPCAB", without_sspcab(config)))
        titled.append((name, config))
    found: dict[str, Recipe] = {}
    for title, config in titled:
        identity = identity_of(config)
        found.setdefault(identity, Recipe(title, config, identity))
    return list(found.values())


def without_sspcab(config: Config) -> Config:
    """CutPaste alone: the convolution stays where the block was, and the block's loss goes."""

    def change(tree: dict[str, Any]) -> None:
        tree["Arch"]["Block"] = None
        tree["Loss"]["Train"] = [item for item in tree["Loss"]["Train"] if "SSPCABLoss" not in item]
        if (tree.get("Localize") or {}).get("name") == "SSPCABError":
            tree["Localize"] = None
            if (tree.get("Score") or {}).get("name") in ("map_max", "fused"):
                tree["Score"] = {"name": "auto"}

    return _changed(config, change)


def untrained(config: Config) -> Config:
    """The pretrained features as they are, and a density on their embedding.

    Without the block, which before any training is a layer of random numbers.
    """

    def change(tree: dict[str, Any]) -> None:
        tree["Global"].update(epochs=0, eval_during_train=False, model_selection="last")
        tree["Score"] = {"name": "embedding"}

    return _changed(without_sspcab(config), change)


def identity_of(config: Config) -> str:
    """Eight hexadecimal digits of all that changes a run's results, but seed and category."""
    tree = copy.deepcopy(config.tree)
    tree.pop("Infer", None)
    ignored = set(WITHOUT_EFFECT)
    for part in tree["DataLoader"].values():
        part.pop("loader", None)
    if not config.Global.epochs:
        ignored |= set(TRAINING_ONLY)
        for section in ("Loss", "Optimizer", "EMA", "AMP"):
            tree.pop(section, None)
        tree["DataLoader"]["Train"].pop("sampler", None)
        tree["DataLoader"]["Train"]["dataset"].pop("transform_ops", None)
        tree["Arch"].pop("class_num", None)
    tree["Global"] = {
        key: value
        for key, value in config.Global.model_dump().items()
        if key not in ignored or (key == "epochs" and value == 0)
    }
    tree["Global"]["data_root"] = str(Path(config.Global.data_root).resolve())
    text = json.dumps(tree, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:8]


def plan(
    found: Sequence[Recipe], categories: Sequence[str], seeds: Sequence[int], folder: StudyFolder
) -> list[Run]:
    """All runs, those of one seed and category together, so that early tables compare."""
    return [
        Run(recipe, category, seed, folder.run(recipe.folder, seed, category))
        for seed in seeds
        for category in categories
        for recipe in found
    ]


def chosen_categories(wanted: str, known: Sequence[str]) -> list[str]:
    """``all``, or the names between commas.

    Raises:
        ConfigError: a name that the data set does not have.
    """
    if wanted == "all":
        return list(known)
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise ConfigError("--categories", f"no category {name!r}{did_you_mean(name, known)}")
    if not names:
        raise ConfigError("--categories", "names no category; 'all' takes every one")
    return list(dict.fromkeys(names))


def _changed(config: Config, change: Callable[[dict[str, Any]], None]) -> Config:
    tree = copy.deepcopy(config.tree)
    change(tree)
    return Config(tree, config.origins)
