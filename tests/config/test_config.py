"""Reading a configuration: inheritance, overrides, and mistakes that are named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from ppcls_sspcab.config.load import COMMAND_LINE, load_config
from ppcls_sspcab.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
BASE = CONFIGS / "cutpaste_sspcab.yaml"


def write(folder: Path, text: str, name: str = "own.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def inheriting(folder: Path, text: str) -> Path:
    return write(folder, f"_BASE_: {BASE}\n{text}")


@pytest.mark.parametrize(
    "path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONFIGS))
)
def test_every_shipped_configuration_is_accepted(path: Path) -> None:
    config = load_config(path)
    assert config.Global.iter_per_epoch >= 1
    assert load_config(path).to_yaml() == config.to_yaml()


def test_a_base_is_inherited_and_overridden(tmp_path: Path) -> None:
    config = load_config(inheriting(tmp_path, "Global: {seed: 7}\n"))
    assert config.Global.seed == 7
    assert config.Global.epochs == load_config(BASE).Global.epochs


def test_another_name_drops_the_arguments_of_the_old_one(tmp_path: Path) -> None:
    config = load_config(inheriting(tmp_path, "Optimizer: {name: SGD, lr: {name: Constant}}\n"))
    assert config.Optimizer == {"name": "SGD", "lr": {"name": "Constant"}}
    config = load_config(BASE, ["Optimizer.lr.learning_rate=0.5", "Optimizer.lr.name=Constant"])
    assert config.Optimizer["lr"] == {"name": "Constant", "learning_rate": 0.5}


def test_what_every_class_of_a_section_shares_stays(tmp_path: Path) -> None:
    text = (
        "DataLoader: {Train: {dataset: {name: FolderDataset, bad_dir: bad}}}\n"
        "Threshold: {name: ManualThreshold, value: 3}\n"
    )
    base = load_config(BASE)
    for config in (
        load_config(inheriting(tmp_path, text)),
        load_config(
            BASE,
            [
                "DataLoader.Train.dataset.bad_dir=bad",
                "DataLoader.Train.dataset.name=FolderDataset",
                "Threshold.name=ManualThreshold",
                "Threshold.value=3",
            ],
        ),
    ):
        ops = base.DataLoader.Train.dataset["transform_ops"]
        dataset = {"name": "FolderDataset", "bad_dir": "bad", "transform_ops": ops}
        assert config.DataLoader.Train.dataset == dataset
        assert config.Threshold.held_out_share == base.Threshold.held_out_share
        assert config.Threshold.method == {"name": "ManualThreshold", "value": 3}


def test_overrides_are_parsed_as_yaml_and_reach_into_lists() -> None:
    config = load_config(
        BASE,
        [
            "Loss.Train.0.CELoss.weight=2",
            "Global.plugins=[a.b, c]",
            "Optimizer.regularizer.coeff=1e-5",
            "Global.category=__import__('os')",
        ],
    )
    assert config.Loss.Train[0] == {"CELoss": {"weight": 2}}
    assert config.Global.plugins == ["a.b", "c"]
    assert config.Optimizer["regularizer"]["coeff"] == pytest.approx(1e-5)
    assert config.Global.category == "__import__('os')"


@pytest.mark.parametrize("text", ["Tolerance: null", "Tolerance:", "Tolerance: {shift: 3}"])
def test_the_tolerance_is_the_recipes_unless_it_is_null(tmp_path: Path, text: str) -> None:
    found = load_config(inheriting(tmp_path, text + "\n")).Tolerance
    if "shift" in text:
        assert found is not None
        assert (found.shift, found.jpeg, found.blur) == (3, 75, 0)
    else:
        assert found is None


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ("Globl: {seed: 1}", "Globl", "did you mean 'Global'"),
        ("Tolerence: null", "Tolerence", "did you mean 'Tolerance'"),
        ("Global: {sed: 1}", "Global.sed", "did you mean 'seed'"),
        ("Global: {seed: one}", "Global.seed", "a whole number"),
        ("Global: {seed: -1}", "Global.seed", "must be at least 0, not -1"),
        ("Global: {device: tpu}", "Global.device", "'cpu'"),
        ("Global: {model_selection: test_auroc}", "Global.model_selection", "on the test set"),
        ("Preprocess: {interpolaton: area}", "Preprocess.interpolaton", "interpolation"),
        ("Preprocess: {image_size: [0, 3]}", "Preprocess.image_size", "pixels"),
        ("Arch: 3", "Arch", "must be a mapping, not 3; start from"),
        ("Threshold: {held_out_share: 1.5}", "Threshold.held_out_share", "below 1"),
        ("DataLoader: {Trian: {}}", "DataLoader.Trian", "did you mean 'Train'"),
        ("DataLoader: {Eval: {loader: {num_workers: 2}}}", "DataLoader.Eval.loader", "unknown key"),
        (
            "DataLoader: {Train: {sampler: {batch_size: 0}}}",
            "DataLoader.Train.sampler.batch_size",
            "least 1",
        ),
        ("Threshold: {held_out_shar: 0.5}", "Threshold.held_out_shar", "'held_out_share'"),
        ("EMA: {}", "EMA.decay", "is required"),
        ("EMA: {decay: 0.9, decya: 1}", "EMA.decya", "did you mean 'decay'"),
        ("Infer: {batch_sise: 1}", "Infer.batch_sise", "did you mean 'batch_size'"),
        ("Tolerance: {brightnes: 0.1}", "Tolerance.brightnes", "did you mean 'brightness'"),
        ("Tolerance: {brightness: 0.9}", "Tolerance.brightness", "at most 0.5, not 0.9"),
        ("Tolerance: {shift: -2}", "Tolerance.shift", "at least 0.0, not -2"),
        ("Tolerance: {jpeg: 75.5}", "Tolerance.jpeg", "a whole number"),
        ("Tolerance: 0.05", "Tolerance", "must be a mapping"),
        ("3: 4", "3", "unknown section"),
        ("Density: {name: x, 3: 4}", "Density.3", "must be a text"),
        ("AMP: {scale_loss: .nan}", "AMP.scale_loss", "must be a number of at most"),
        ("Optimizer: {lr: {eta_min: 1e39}}", "Optimizer.lr.eta_min", "at most 3.4e+38"),
    ],
)
def test_a_mistake_names_file_key_and_a_way_out(
    tmp_path: Path, text: str, key: str, hint: str
) -> None:
    path = inheriting(tmp_path, text + "\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert (caught.value.key, caught.value.file) == (key, str(path))
    assert hint in str(caught.value)


def test_a_mistake_on_the_command_line_is_said_to_be_there() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(BASE, ["Global.seed=x"])
    assert caught.value.file == COMMAND_LINE
    for override in (
        "Global.seed",
        "=1",
        "Loss.Train.7.CELoss=1",
        "Global.seed.x=1",
        "A=[1",
        "Loss.Train.²=1",
        f"Global.seed=0x{'f' * 4000}",
    ):
        with pytest.raises(ConfigError):
            load_config(BASE, [override])


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("Global: [", "not valid YAML"),
        ("just words", "sections"),
        ("Global: {seed: 1, seed: 2}", "stands twice"),
        ("Global: !!python/object/apply:os.system ['true']", "not valid YAML"),
        ("_BASE_: own.yaml", "includes itself"),
        ("_BASE_: nowhere.yaml", "no such file"),
        ("_BASE_: 3", "file name"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, text: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        load_config(write(tmp_path, text))


def test_a_shipped_configuration_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "_BASE_: cutpaste_sspcab_cpu.yaml\nGlobal: {seed: 3}\n"
    own = load_config(write(tmp_path, text))
    assert own.tree == load_config("configs/cutpaste_sspcab_cpu.yaml", ["Global.seed=3"]).tree
    assert own.origin("Arch.freeze") == str(CONFIGS / "cutpaste_sspcab_cpu.yaml")
    # A file of one's own beside it is taken before a shipped one of that name.
    write(tmp_path, f"_BASE_: {BASE}\nGlobal: {{seed: 8}}\n", "demo.yaml")
    for path in ("demo.yaml", write(tmp_path, "_BASE_: demo.yaml\n")):
        assert load_config(path).Global.seed == 8


def test_a_mapping_is_a_configuration_as_a_file_is() -> None:
    source = {"_BASE_": "demo.yaml", "Global": {"seed": 2}, "Preprocess": {"image_size": (32, 48)}}
    config = load_config(source, {"Loss.Train.0.CELoss.weight": 2, "Global.category": "3"})
    assert config.Preprocess.image_size == (32, 48)
    assert (config.Global.seed, config.Global.category) == (2, "3")
    assert config.Loss.Train[0] == {"CELoss": {"weight": 2}}
    assert source["Preprocess"] == {"image_size": (32, 48)}
    changed = load_config(config, ["Global.seed=9"])
    assert (changed.Global.seed, config.Global.seed) == (9, 2)
    assert load_config(yaml.safe_load(changed.to_yaml())).tree == changed.tree
    for overrides, text in (
        ({"Global.sed": 1}, "overrides: Global.sed: unknown key"),
        ({"Global": 1}, "overrides: Global: must be a mapping"),
        ({"Global..seed": 1}, "overrides: 'Global..seed' must read"),
    ):
        with pytest.raises(ConfigError, match=text):
            load_config(config, overrides)


def test_a_plugin_that_is_not_there_is_named(tmp_path: Path) -> None:
    config = load_config(BASE, ["Global.plugins=[no_such_module_of_mine]"])
    with pytest.raises(ConfigError, match="no_such_module_of_mine"):
        config.load_plugins()


@pytest.mark.parametrize(
    ("module", "text"),
    [("own.py", "name the module, 'own'"), ("broken", "'broken' cannot be imported: invalid")],
)
def test_a_plugin_that_cannot_be_read_is_named(
    module: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "x = = 1", "broken.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    with pytest.raises(ConfigError, match=text) as caught:
        load_config(BASE, [f"Global.plugins=[yaml, {module}]"]).load_plugins()
    assert (caught.value.key, caught.value.file) == ("Global.plugins.1", COMMAND_LINE)
