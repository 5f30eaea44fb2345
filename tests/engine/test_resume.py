"""A resumed run is the run it was, or says what differs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.detector.file import load_detector
from ppcls_sspcab.engine.engine import Engine
from ppcls_sspcab.engine.identity import PICTURES, refuse_changes, training_identity
from ppcls_sspcab.errors import ModelError
from ppcls_sspcab.image.content import contents_of

REPOSITORY = Path(__file__).resolve().parents[2]
DEMO = REPOSITORY / "configs/demo.yaml"


def identity(*overrides: str) -> dict[str, object]:
    return training_identity(load_config(DEMO, ["Global.category=gasket", *overrides]))


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("Preprocess.image_size=[32, 64]", "Preprocess.image_size"),
        ("Preprocess.interpolation=bicubic", "Preprocess.interpolation"),
        ("Optimizer.lr.learning_rate=0.01", "Optimizer.lr.learning_rate"),
        ("Loss.Train.1.SSPCABLoss.weight=1", "Loss.Train.1.SSPCABLoss.weight"),
        ("Global.freeze_steps=5", "Global.freeze_steps"),
        ("Global.seed=1", "Global.seed"),
        ("Global.category=mesh", "Global.category"),
        ("Arch.Block=null", "Arch.Block"),
        ("EMA.decay=0.9", "EMA.decay"),
        ("Tolerance.brightness=0.2", "Tolerance.brightness"),
        (
            "DataLoader.Train.dataset.transform_ops=[{CutPaste: {variant: scar}}]",
            "DataLoader.Train.dataset.transform_ops.0.CutPaste.variant",
        ),
        ("DataLoader.Train.sampler.batch_size=2", "DataLoader.Train.sampler.batch_size"),
    ],
)
def test_what_decides_the_weights_is_refused_by_name_or_allowed(override: str, key: str) -> None:
    old, new = identity(), identity(override)
    with pytest.raises(ModelError, match=rf"latest: was made with .*{key}"):
        refuse_changes(old, new, [], "latest")
    refuse_changes(old, new, [key.partition(".")[0]], "latest")
    with pytest.raises(ModelError):
        refuse_changes(old, new, ["Glob"], "latest")


@pytest.mark.parametrize(
    "override",
    [
        "Global.data_root=/moved",
        "Global.output_dir=/elsewhere",
        "Global.print_batch_step=1",
        "DataLoader.Train.loader.num_workers=3",
        "Arch.pretrained=weights.pdparams",
        "Density.name=KernelDensity",
        "Threshold.target_fpr=0.01",
        "Infer.batch_size=1",
    ],
)
def test_what_changes_no_weight_may_change(override: str) -> None:
    refuse_changes(identity(), identity(override), [], "latest")


def test_what_selects_an_epoch_decides_the_weights() -> None:
    selecting = "Global.model_selection=val_synthetic"
    old, new = identity(selecting), identity(selecting, "Density.name=KernelDensity")
    with pytest.raises(ModelError, match=r"Density\.name"):
        refuse_changes(old, new, [], "latest")


def test_other_pictures_are_counted_not_listed() -> None:
    old, new = {PICTURES: ["a", "b", "c"]}, {PICTURES: ["a", "d"]}
    with pytest.raises(ModelError, match=r"3 pictures .* has 1 others and lacks 2"):
        refuse_changes(old, new, [], "latest")
    with pytest.raises(ModelError, match="in another order"):
        refuse_changes(old, {PICTURES: ["c", "b", "a"]}, [], "latest")


def test_an_allowed_change_of_pictures_holds_out_none_that_was_trained_on(
    tiny_yaml: Path, tmp_path: Path
) -> None:
    config = load_config(tiny_yaml)
    Engine(config, "train").train()
    before = load_detector(config.folder.detector).card.trained_on
    root = tmp_path / "data"
    shutil.copytree(Path(config.Global.data_root) / config.Global.category, root / "part")
    good = root / "part" / "train" / "good"
    for number in range(10):
        Image.new("RGB", (48, 48), (number, 90, 90)).save(good / f"new {number}.png")
    (tmp_path / "output" / "part").mkdir()
    shutil.copytree(config.folder.root / "checkpoints", tmp_path / "output/part/checkpoints")
    # Another seed would hold out pictures that the first part of the training saw.
    changed = ["Global.category=part", f"Global.data_root={root}", "Global.seed=7"]
    changed += ["Global.checkpoints=latest"]
    with pytest.raises(ModelError, match=r"latest\.safetensors: was made with Global\.category"):
        Engine(load_config(tiny_yaml, changed), "train").train()
    allowed = [*changed, "Global.resume_changes=[Global, pictures]"]
    config = load_config(tiny_yaml, allowed)
    Engine(config, "train").train()
    card = load_detector(config.folder.detector).card
    assert set(before) <= set(card.trained_on)
    everything = set(contents_of(sorted(map(str, good.iterdir()))))
    held_out = everything - set(card.trained_on)
    assert len(held_out) == card.protocol["good_pictures_held_out"] >= 2
