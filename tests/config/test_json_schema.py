"""The JSON Schema for editors, by an independent validator; and the page written from it."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from ppcls_sspcab import registry
from ppcls_sspcab.cli.main import main
from ppcls_sspcab.config.json_schema import json_schema
from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.registry import Registry

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = REPOSITORY / "configs"
SHIPPED = sorted(CONFIGS.rglob("*.yaml"))

PLUGIN = '''
from ppcls_sspcab.registry import DATASETS


@DATASETS.register
class Conveyor:
    """Pictures from a conveyor belt.

    Args:
        belt: number of the belt.
        window: first and last second.
    """

    def __init__(
        self, data_root: str, category: str, belt: int, window: tuple[float, float] = (0, 9)
    ):
        self.train, self.test = [], []

    @classmethod
    def categories(cls, data_root: str) -> list[str]:
        return []
'''


@pytest.fixture(scope="module", autouse=True)
def what_ships() -> Iterator[None]:
    """Registries without what other modules of tests register when they are collected."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in vars(registry).values():
            if isinstance(kind, Registry):
                shipped = {
                    name: kind._entries[name]
                    for name in kind.names()
                    if kind._entries[name].__module__.startswith("ppcls_sspcab.")
                }
                patch.setattr(kind, "_entries", shipped)
        yield


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: str(file.relative_to(CONFIGS)))
def test_every_shipped_configuration_is_valid(file: Path, validator: Draft202012Validator) -> None:
    validator.validate(load_config(file).tree)
    validator.validate(yaml.safe_load(file.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Globl", {}),
        ("Global.sed", 1),
        ("Global.seed", "one"),
        ("Global.seed", True),
        ("Global.seed", -1),
        ("Global.device", "tpu"),
        ("Preprocess.interpolation", "cubic"),
        ("Preprocess.image_size", [64]),
        ("Arch.freez", []),
        ("Arch.pretrained", 3),
        ("Arch.Backbone", {"name": "resnet18", "pretraned": True}),
        ("Arch.Block.reduction", 0.5),
        ("Arch.Head.hidden_layer", 1),
        ("Loss.Train.0.CELoss.wieght", 1),
        ("Loss.Train.0.CELoss.weight", -1),
        ("Loss.Train.0", "CELoss"),
        ("Optimizer.name", "Adamw"),
        ("Optimizer.nesterov", True),
        ("Optimizer.lr.warmup", 1),
        ("Optimizer.regularizer.coeff", 2),
        ("DataLoader.Train.sampler.batch_size", 0),
        ("DataLoader.Train.dataset.name", "MVTec"),
        ("DataLoader.Train.dataset.transform_ops.2.CutPaste.variant", "4way"),
        ("Density.bandwith", 1),
        ("Score.name", "embeding"),
        ("Localize.channels", "all"),
        ("Threshold.target_fpr", "5%"),
        ("Threshold.fold", 5),
        ("Threshold.held_out_share", 1),
        ("Metric", {"Eval": ["f2_max"]}),
        ("Infer.PostProcess", {"name": "Decision"}),
        ("AMP", {"level": "O2"}),
        ("EMA", {"decay": 1}),
        ("Tiling", {"size": [1, 2, 3]}),
        ("Tolerance.brightnes", 0.1),
        ("Tolerance.jpeg", 0),
    ],
)
def test_a_wrong_key_or_value_is_refused_there(
    key: str, value: Any, validator: Draft202012Validator
) -> None:
    tree = copy.deepcopy(load_config(CONFIGS / "demo.yaml", {"Tolerance": {}}).tree)
    node: Any = tree
    path = [int(part) if part.isdigit() else part for part in key.split(".")]
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    places = [[*error.absolute_path] for error in validator.iter_errors(tree)]
    assert places
    assert all(place[: len(path)] == path[: len(place)] for place in places), places


@pytest.mark.parametrize(
    "source",
    [
        {"Global": {"seed": 1.5}},
        {"EMA": {"decay": 0}},
        {"Tiling": {"overlap": 0.9}},
        {"Tolerance": {"shift": -1}},
        {"Metric": {"Test": []}},
        {"DataLoader": {"Eval": {"loader": {}}}},
        {"Threshold": {"calibrate_on": "test"}},
    ],
)
def test_what_the_schema_refuses_the_loader_refuses(
    source: dict[str, Any], validator: Draft202012Validator
) -> None:
    source = {"_BASE_": "demo.yaml", **source}
    assert not validator.is_valid(source)
    with pytest.raises(ConfigError):
        load_config(source)


def test_a_part_may_be_missing_only_where_a_base_may_bring_it(
    validator: Draft202012Validator,
) -> None:
    tree = load_config(CONFIGS / "demo.yaml").tree
    part = {name: tree[name] for name in ("Global", "Density")}
    assert not validator.is_valid(part)
    validator.validate({"_BASE_": ["demo.yaml"], **part, "Infer": None, "Localize": None})


def test_every_key_says_what_it_means_and_every_class_is_there() -> None:
    schema = json_schema()
    silent = [path for path, key in keys(schema) if not key.get("description")]
    assert not silent
    text = json.dumps(schema)
    kinds = [kind for kind in vars(registry).values() if isinstance(kind, Registry)]
    assert len(kinds) == 15
    for kind in kinds:
        for name in kind.names():
            assert f'"{name}"' in text, (kind.kind, name)


def test_a_plugin_is_known_to_the_schema_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conveyor_plugin.py").write_text(PLUGIN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry.DATASETS, "_entries", dict(registry.DATASETS._entries))
    output = tmp_path / "schema.json"
    assert main(["schema", "--plugin", "conveyor_plugin", "--output", str(output)]) == 0
    validator = Draft202012Validator(json.loads(output.read_text(encoding="utf-8")))
    tree = {"_BASE_": "demo.yaml", "DataLoader": {"Train": {"dataset": {"name": "Conveyor"}}}}
    dataset = tree["DataLoader"]["Train"]["dataset"]  # type: ignore[index]
    dataset |= {"belt": 3, "window": [1, 2.5]}
    validator.validate(tree)
    for wrong in ({"belt": "left"}, {"window": [1]}, {"blet": 3}):
        spoilt = copy.deepcopy(tree)
        spoilt["DataLoader"]["Train"]["dataset"] |= wrong  # type: ignore[index]
        assert not validator.is_valid(spoilt), wrong


def test_the_page_is_what_the_command_writes() -> None:
    """``ppcls-sspcab schema --markdown --output docs/configuration.md`` writes it again."""
    # A process of its own: in this one, other tests have asked for more of PaddleClas's networks.
    command = [sys.executable, "-m", "ppcls_sspcab", "schema", "--markdown"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    page = (REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert done.stdout == page


def keys(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every key that a schema describes; conditions (``if``) only name theirs."""
    if isinstance(schema, dict):
        for name, key in schema.get("properties", {}).items():
            if isinstance(key, dict):
                yield f"{path}.{name}", key
                yield from keys(key, f"{path}.{name}")
        for word in ("then", "items", "anyOf", "allOf"):
            yield from keys(schema.get(word), path)
    elif isinstance(schema, list):
        for item in schema:
            yield from keys(item, path)
