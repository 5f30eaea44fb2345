"""Trainings that cannot learn are refused at their start; those that diverge are ended."""

from __future__ import annotations

from pathlib import Path

import paddle
import pytest

from ppcls_sspcab.cli.main import main
from ppcls_sspcab.config.config import Config
from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.engine.sanity import LossWatch
from ppcls_sspcab.engine.trainer import Trainer
from ppcls_sspcab.errors import ConfigError, UserError
from ppcls_sspcab.utils.weights import write_safetensors

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
ALL_TRAINED = ("Arch.freeze=null", "Arch.untrained=null")
COMMON = ("Global.category=part", "Global.device=cpu", "Preprocess.image_size=[64, 64]")


def recipe(name: str, *overrides: str) -> Config:
    return load_config(CONFIGS / name, [*COMMON, *overrides])


def test_frozen_stages_of_random_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="conv1 would keep random weights") as caught:
        Trainer(recipe("cutpaste_sspcab_cpu.yaml", "Arch.pretrained=false"))
    assert "from_scratch.yaml" in str(caught.value)
    # Weights that lack a stage leave it random, too.
    network = paddle.vision.models.resnet18()
    weights = {key: value.numpy() for key, value in network.state_dict().items()}
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, weights, {})
    Trainer(recipe("cutpaste_sspcab_cpu.yaml", f"Arch.pretrained={path}"))
    kept = {key: value for key, value in weights.items() if not key.startswith("layer2.")}
    write_safetensors(path, kept, {})
    with pytest.raises(ConfigError, match="layer2 would keep random weights"):
        Trainer(recipe("cutpaste_sspcab_cpu.yaml", f"Arch.pretrained={path}"))


def test_what_is_named_instead_trains(capsys: pytest.CaptureFixture[str]) -> None:
    Trainer(recipe("from_scratch.yaml"))
    Trainer(recipe("cutpaste_sspcab_cpu.yaml", "Arch.pretrained=false", *ALL_TRAINED))
    # The baseline of random weights, which trains nothing, and a checkpoint, which has weights.
    for override in ("Global.epochs=0", "Global.checkpoints=latest"):
        Trainer(recipe("cutpaste_sspcab_cpu.yaml", "Arch.pretrained=false", override))
    assert "random weights" not in capsys.readouterr().err
    Trainer(recipe("cutpaste_sspcab.yaml", "Arch.pretrained=false"))
    assert "Global.freeze_steps: the backbone has random weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("Preprocess.image_size=[8, 8]", "Preprocess.image_size"),
        ("Preprocess.image_size=[256, 31]", "Preprocess.image_size"),
        ("Tiling.size=[16, 16]", "Tiling.size"),
    ],
)
def test_pictures_below_a_cell_of_the_last_map_are_refused(override: str, key: str) -> None:
    with pytest.raises(ConfigError, match=r"at least \[32, 32\]") as caught:
        Trainer(recipe("from_scratch.yaml", override))
    assert caught.value.key == key
    Trainer(recipe("from_scratch.yaml", "Preprocess.image_size=[32, 64]"))


def test_a_training_that_diverges_ends_without_a_detector(
    tiny_yaml: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config(tiny_yaml)
    assert main(["train", "-c", str(tiny_yaml), "-o", "Optimizer.lr.learning_rate=100"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "the training diverges" in error and "learning_rate" in error
    assert not config.folder.detector.exists()


def test_spikes_and_small_losses_are_no_divergence() -> None:
    watch = LossWatch(3, Path("latest"))
    for loss in (1.4, 900.0, 1.2, 1.1):
        watch.add(loss, 0.5)
    watch.end_epoch(1.4, 3, 0.1)
    watch.add(0.02, 0.5)
    watch.end_epoch(1e-6, 4, 0.1)
    for loss in (30.0, 1.0, 40.0):
        watch.add(loss, 0.5)
    with pytest.raises(UserError, match=r"the loss is 30, at first 1\.4"):
        watch.end_epoch(1.4, 7, 0.1)


@pytest.mark.parametrize(("accuracy", "warns"), [(0.35, True), (0.9, False)])
def test_a_network_that_guesses_is_warned_of(
    accuracy: float, warns: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    watch = LossWatch(3, Path("latest"))
    for _ in range(5):
        watch.add(1.0, accuracy)
    watch.end_epoch(1.0, 4, 0.1)
    watch.end("part")
    assert ("has not learnt" in capsys.readouterr().err) == warns
