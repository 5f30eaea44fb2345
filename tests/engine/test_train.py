"""Training: the same numbers again, with any number of workers, and after an interruption."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.data.build import good_pictures
from ppcls_sspcab.detector.file import load_detector
from ppcls_sspcab.engine import selection
from ppcls_sspcab.engine.engine import Engine
from ppcls_sspcab.engine.trainer import Trainer
from ppcls_sspcab.errors import ConfigError, DataError, UserError
from ppcls_sspcab.utils.weights import read_weights


def train(path: Path, *overrides: str) -> dict[str, np.ndarray]:
    config = load_config(path, overrides)
    Engine(config, "train").train()
    return read_weights(config.folder.detector)


def assert_same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    assert left.keys() == right.keys()
    for name, value in left.items():
        np.testing.assert_array_equal(value, right[name], err_msg=name)


def test_the_same_seed_gives_the_same_detector_with_any_number_of_workers(
    tiny_yaml: Path, tmp_path: Path
) -> None:
    first = train(tiny_yaml, f"Global.output_dir={tmp_path / 'a'}")
    workers = "DataLoader.Train.loader.num_workers=2"
    assert_same(first, train(tiny_yaml, f"Global.output_dir={tmp_path / 'b'}", workers))
    other = train(tiny_yaml, f"Global.output_dir={tmp_path / 'c'}", "Global.seed=1")
    weights = [name for name in first if name.startswith("network.")]
    assert any((first[name] != other[name]).any() for name in weights)


@pytest.mark.parametrize(("sent", "returncode"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_an_interrupted_run_ends_with_the_same_weights(
    tiny_yaml: Path, tmp_path: Path, sent: signal.Signals, returncode: int
) -> None:
    undisturbed = train(tiny_yaml, f"Global.output_dir={tmp_path / 'a'}", "Global.epochs=6")
    folder = tmp_path / "b"
    command = [sys.executable, "-m", "ppcls_sspcab", "train", "-c", str(tiny_yaml)]
    command += ["-o", f"Global.output_dir={folder}", "-o", "Global.epochs=6"]
    # Without the launcher, whose settings this process lacks: they change the last digits.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PPCLS_SSPCAB_NO_LAUNCHER": "1"}
    log = folder / load_config(tiny_yaml).Global.category / "train.log"
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        while "[Train][Epoch 2/" not in (log.read_text() if log.exists() else ""):
            assert process.poll() is None, process.stderr.read().decode()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(sent)
        process.communicate(timeout=120)
    assert process.returncode == returncode
    assert not (log.parent / "detector.safetensors").exists()
    resumed = train(
        tiny_yaml,
        f"Global.output_dir={folder}",
        "Global.epochs=6",
        "Global.checkpoints=latest",
    )
    assert_same(undisturbed, resumed)


def test_logs_and_checkpoints_lie_where_they_should(tiny_yaml: Path) -> None:
    config = load_config(
        tiny_yaml,
        [
            "Global.save_interval=1",
            "Global.model_selection=val_synthetic",
            "Global.use_visualdl=true",
            "EMA.decay=0.5",
        ],
    )
    Engine(config, "train").train()
    folder = config.folder.root
    names = {path.stem for path in (folder / "checkpoints").iterdir()}
    assert names == {"latest", "best", "epoch_1", "epoch_2"}
    with (folder / "train.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 6]
    for column in ("lr", "CELoss", "SSPCABLoss", "loss", "accuracy", "reader_cost", "ips"):
        assert np.isfinite([float(row[column]) for row in rows]).all(), column
    weighted = float(rows[0]["CELoss"]) + 0.1 * float(rows[0]["SSPCABLoss"])
    assert float(rows[0]["loss"]) in (
        pytest.approx(weighted, rel=1e-4),
        pytest.approx(float(rows[0]["CELoss"]) + float(rows[0]["SSPCABLoss"]), rel=1e-4),
    )
    assert "AUROC on synthetic defects" in (folder / "train.log").read_text()
    assert any((folder / "vdl").iterdir())


@pytest.mark.parametrize(
    ("figures", "epoch"),
    [
        ([0.70, 0.75, 0.80], 3),
        ([0.80, 0.85, 0.80], 2),
        ([0.80, 0.85, 0.845], 3),
        # Many small steps down do not add up.
        ([0.85, 0.845, 0.841, 0.838], 3),
    ],
)
def test_the_latest_epoch_is_kept_that_no_other_clearly_beats(
    tiny_yaml: Path, figures: list[float], epoch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ["Global.model_selection=val_synthetic", "Global.iter_per_epoch=1"]
    config = load_config(tiny_yaml, [*overrides, f"Global.epochs={len(figures)}"])
    trainer = Trainer(config)
    weights = []

    def validate(*_: object) -> float:
        state = trainer.network.state_dict()
        weights.append({name: value.numpy() for name, value in state.items()})
        return figures[len(weights) - 1]

    monkeypatch.setattr(selection, "synthetic_auroc", validate)
    network = trainer.fit(good_pictures(config))
    assert trainer.progress.best_epoch == epoch
    for name, value in network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), weights[epoch - 1][name])


def test_training_goes_downhill(tiny_yaml: Path) -> None:
    config = load_config(tiny_yaml, ["Global.epochs=4", "Global.iter_per_epoch=10"])
    Engine(config, "train").train()
    with (config.folder.root / "train.csv").open() as file:
        losses = [float(row["CELoss"]) for row in csv.DictReader(file)]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_a_diverged_loss_stops_with_the_step_and_a_way_out(tiny_yaml: Path) -> None:
    with pytest.raises(UserError, match=r"at step \d+.*learning_rate"):
        train(tiny_yaml, "Optimizer.lr.learning_rate=1e30", "Global.epochs=6")


def test_the_classes_of_network_and_variant_must_agree(tiny_yaml: Path) -> None:
    with pytest.raises(ConfigError, match=r"2.*3 classes"):
        train(tiny_yaml, "Arch.class_num=2")


def test_k_fold_calibration_trains_on_every_picture(tiny_yaml: Path) -> None:

    config = load_config(tiny_yaml, ["Threshold.calibrate_on=k_fold"])
    Engine(config, "train").train()
    card = load_detector(config.folder.detector).card
    assert card.protocol["good_pictures_trained_on"] == 12
    assert card.protocol["good_pictures_held_out"] == 0
    assert card.calibration.pictures == 12


def test_too_few_good_pictures_say_how_many_are_needed(tiny_yaml: Path, tmp_path: Path) -> None:
    from PIL import Image

    good = tmp_path / "few" / "part" / "train" / "good"
    good.mkdir(parents=True)
    for index in range(3):
        Image.new("RGB", (40, 40), (index * 20, 90, 90)).save(good / f"{index}.png")
    with pytest.raises(DataError, match="at least 4"):
        train(tiny_yaml, f"Global.data_root={tmp_path / 'few'}", "Global.category=part")


def test_zero_epochs_are_the_baseline_of_the_weights_as_they_are(tiny_yaml: Path) -> None:
    config = load_config(tiny_yaml, ["Global.epochs=0"])
    Engine(config, "train").train()
    (results,) = Engine(config, "eval").eval()
    assert results.protocol["steps"] == 0
    assert np.isfinite(results.image_auroc)


def test_a_diagnosis_on_the_test_pictures_changes_nothing(tiny_yaml: Path, tmp_path: Path) -> None:
    first = train(tiny_yaml, f"Global.output_dir={tmp_path / 'a'}")
    looked = f"Global.output_dir={tmp_path / 'b'}"
    assert_same(first, train(tiny_yaml, looked, "Global.eval_during_train=true"))
    (log,) = (tmp_path / "b").glob("*/train.log")
    assert "nothing is selected by it" in log.read_text()
    assert not list((tmp_path / "b").glob("*/checkpoints/best*"))


def test_mixed_precision_trains_to_nearly_the_same_first_loss(
    tiny_yaml: Path, tmp_path: Path
) -> None:
    losses = []
    for name, use_amp in (("a", "false"), ("b", "true")):
        overrides = (f"Global.output_dir={tmp_path / name}", f"AMP.use_amp={use_amp}")
        train(tiny_yaml, *overrides, "Global.epochs=1")
        (table,) = (tmp_path / name).glob("*/train.csv")
        with table.open() as file:
            losses.append(float(next(csv.DictReader(file))["CELoss"]))
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_a_category_that_fails_does_not_keep_the_others_from_their_turn(
    tiny_yaml: Path, demo_root: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(demo_root, data)
    for name in ("empty", "__MACOSX"):
        (data / name / "train" / "good").mkdir(parents=True)
    (data / "__MACOSX" / "train" / "good" / "._000.png").write_bytes(b"attributes")
    untrained = ("Global.category=all", "Global.epochs=0", "Localize=null")
    config = load_config(tiny_yaml, [*untrained, f"Global.data_root={data}"])
    said = r"1 of 3 categories failed: empty; the others are done; empty: .*no good pictures"
    with pytest.raises(UserError, match=said):
        Engine(config, "train").train()
    output = Path(config.Global.output_dir)
    categories = sorted(path.name for path in demo_root.iterdir())
    trained = sorted(path.parent.name for path in output.glob("*/detector.safetensors"))
    assert trained == categories
    with pytest.raises(UserError, match="1 of 3 categories failed: empty"):
        Engine(config, "eval").eval()
    table = (output / "results.md").read_text(encoding="utf-8")
    assert all(f"| {category} " in table for category in categories)
