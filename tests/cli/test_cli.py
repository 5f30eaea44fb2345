"""The console command: exit codes, one-line errors, and what a user meets first."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ppcls_sspcab.cli.main import main
from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]


def overrides(*pairs: str) -> list[str]:
    return [word for pair in pairs for word in ("-o", pair)]


@pytest.fixture
def trained(tiny_yaml: Path) -> Path:
    assert main(["train", "-c", str(tiny_yaml)]) == 0
    return tiny_yaml


@pytest.mark.slow
def test_train_eval_and_predict_as_a_user_does(
    trained: Path, demo_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = load_config(trained).folder.root
    category = folder.name
    assert main(["eval", "-c", str(trained)]) == 0
    results = json.loads((folder / "results.json").read_text())
    for key in ("image_auroc", "image_aupr", "f1", "false_alarm_rate", "detection_rate"):
        assert 0 <= results[key] <= 1
        assert len(results["intervals"][key]) == 2
    assert results["protocol"]["selection"] == "last"
    assert results["protocol"]["steps"] == 6
    assert {path.name for path in (folder / "plots").iterdir()} == {
        "roc.png",
        "score_histogram.png",
        "embedding_tsne.png",
    }
    capsys.readouterr()

    bad = tmp_path / "broken.png"
    bad.write_bytes(b"no picture")
    test_folder = demo_root / category / "test"
    output = tmp_path / "records.jsonl"
    words = ["predict", "-c", str(trained), str(test_folder), str(bad), "--output", str(output)]
    assert main(words) == 0
    records = [json.loads(line) for line in output.read_text().splitlines()]
    with (folder / "results.csv").open() as file:
        measured = {row["path"]: float(row["score"]) for row in csv.DictReader(file)}
    assert len(records) == len(measured) + 1
    assert "error" in records[-1] and records[-1]["path"] == str(bad)
    for record in records[:-1]:
        assert record["score"] == pytest.approx(measured[record["path"]], rel=1e-4)
        assert record["is_anomaly"] == (record["score"] > record["threshold"])
        assert record["is_anomaly"] == (record["normalized_score"] > 0.5)


@pytest.mark.slow
def test_the_exit_code_tells_of_anomalies(
    trained: Path, demo_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    category = load_config(trained).folder.root.name
    words = ["predict", "-c", str(trained), str(demo_root / category / "train" / "good")]
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    capsys.readouterr()
    assert main([*words, "--threshold", "-1", "--fail-on-anomaly"]) == 3
    assert main([*words, "--threshold", "-1", "--format", "csv"]) == 0
    assert main([*words, "--threshold", "1e9", "--fail-on-anomaly"]) == 0
    assert main([*words, str(broken), "--threshold", "1e9", "--fail-on-anomaly"]) == 4
    assert main([*words, str(broken), "--threshold", "1e9"]) == 0
    assert "path,score,normalized_score,threshold,is_anomaly" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["train", *overrides("Global.data_root=/nowhere")], "/nowhere"),
        (["train", *overrides("Global.category=gaskte")], "did you mean"),
        (["train", *overrides("Arch.Block.replcae=x")], "did you mean 'replace'"),
        (["train", *overrides("Arch.Block.replace=layer9")], "layer4[1].conv1"),
        (["train", *overrides("Arch.Backbone.name=resnet19")], "resnet18"),
        (["train", *overrides("Arch.pretrained=/no/weights.safetensors")], "/no/weights"),
        (["train", *overrides("Density.name=GausianDensity")], "did you mean 'GaussianDensity'"),
        (["train", *overrides("Loss.Train.0.CELoss.wieght=1")], "wieght"),
        (
            ["train", *overrides("DataLoader.Train.dataset.transform_ops.2.CutPaste.variant=4way")],
            "3way",
        ),
        (["train", *overrides("Threshold.target_fpr=2")], "target_fpr"),
        (["train", *overrides("Global.checkpoints=latest")], "no such checkpoint"),
        (["eval"], "'train' writes it"),
        (["predict", "/nowhere/x.png"], "/nowhere/x.png"),
        (["predict"], "Infer.infer_imgs"),
        (["export"], "'train' writes it"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(
    tiny_yaml: Path, words: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    verb, *rest = words
    assert main([verb, "-c", str(tiny_yaml), *rest]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and hint in error[0]


def test_without_paddle_there_is_one_clear_error(
    tiny_yaml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "paddle", None)
    assert main(["train", "-c", str(tiny_yaml)]) == 2
    assert "PaddlePaddle is not installed" in capsys.readouterr().err


def test_tools_and_print_config(tiny_yaml: Path) -> None:
    command = [sys.executable, str(REPOSITORY / "tools" / "train.py"), "-c", str(tiny_yaml)]
    command += ["--print-config", "-o", "Global.seed=17"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "seed: 17" in done.stdout
    assert "_BASE_" not in done.stdout


def test_a_detector_that_lies_elsewhere(trained: Path, tmp_path: Path) -> None:
    folder = load_config(trained).folder.root
    moved = (folder / "detector.safetensors").rename(tmp_path / "other.safetensors")
    elsewhere = overrides(f"Global.pretrained_model={moved}", f"Global.output_dir={tmp_path}/new")
    assert main(["export", "-c", str(trained), *elsewhere]) == 0
    assert (tmp_path / "new" / folder.name / "inference" / "inference.json").is_file()
    assert main(["train", "-c", str(trained), *elsewhere]) == 2
    with pytest.raises(ConfigError, match="pretrained_model"):
        load_config(trained, [f"Global.pretrained_model={moved}", "Global.category=all"])


def test_all_categories_and_a_summary(
    tiny_yaml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-c", str(tiny_yaml), *overrides("Global.category=all", "Global.epochs=1")]
    assert main(["train", *words]) == 0
    unfinished = tmp_path / "output" / ".results-killed.part"
    unfinished.write_text("| half a tab")
    assert main(["eval", *words]) == 0
    assert not unfinished.exists()
    table = (tmp_path / "output" / "results.md").read_text()
    assert "mesh" in table and "gasket" in table and "mean" in table
    assert table in capsys.readouterr().out
