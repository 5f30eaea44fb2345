"""One version in all files of a detector, and what happens to the earlier one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from ppcls_sspcab.cli.main import main
from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.detector.file import load_detector, write_detector
from ppcls_sspcab.errors import ModelError
from ppcls_sspcab.runtime import calibrate as calibrating
from ppcls_sspcab.runtime.card import InferenceCard


def verb(name: str, yaml: Path, *words: str) -> int:
    return main([name, "-c", str(yaml), *words])


@pytest.fixture
def exported(tiny_yaml: Path) -> Path:
    """A detector without a training, evaluated and exported."""
    text = tiny_yaml.read_text(encoding="utf-8").replace("epochs: 2", "epochs: 0")
    tiny_yaml.write_text(f"{text}\nLocalize: null\nScore: {{name: embedding}}\n", encoding="utf-8")
    for name in ("train", "export"):
        assert verb(name, tiny_yaml) == 0
    assert verb("eval", tiny_yaml, "--report") == 0
    return tiny_yaml


def new_good(folder: Path) -> Path:
    folder.mkdir()
    for value in range(25):
        Image.new("RGB", (48, 48), (5 * value, 90, 90)).save(folder / f"{value}.png")
    return folder


def test_every_file_bears_the_version_and_a_retraining_keeps_the_old_ones(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = load_config(exported).folder
    version = load_detector(folder.detector).card.version
    assert len(version) == 12
    assert json.loads(folder.detector.with_suffix(".json").read_text())["version"] == version
    assert InferenceCard.read(folder.inference).version == version
    protocol = json.loads(folder.results_json.read_text())["protocol"]
    assert protocol["detector_version"] == version
    assert version in folder.report.read_text() and version in folder.results_md.read_text()

    # The same once more is the same detector: everything stays.
    assert verb("train", exported) == 0
    assert not folder.versions.exists() and folder.results_json.exists()
    capsys.readouterr()
    assert verb("train", exported, "-o", "Global.seed=1") == 0
    (kept,) = folder.versions.iterdir()
    assert str(kept) in capsys.readouterr().err and version in kept.name
    assert load_detector(kept / "detector.safetensors").card.version == version
    names = {path.name for path in kept.iterdir()}
    assert names >= {"inference", "results.json", "results.csv", "results.md", "report.html"}
    # Nothing of the old detector looks current.
    for path in (folder.inference, folder.results_json, folder.results_csv, folder.report):
        assert not path.exists(), path
    assert verb("train", exported, "-o", "Global.seed=2", "-o", "Global.overwrite=true") == 0
    assert len(list(folder.versions.iterdir())) == 1


def test_a_mixture_is_said(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a kill between the export and the detector leaves it."""
    config = load_config(exported)
    detector = load_detector(config.folder.detector)
    detector.card.version = "of another"
    write_detector(detector, config.folder.detector)
    capsys.readouterr()
    assert verb("predict", exported, str(Path(config.Global.data_root) / "gasket/test/good")) == 0
    said = capsys.readouterr().err
    assert "inference.yml: is of the detector" in said and "results.json: is of" in said
    assert "run 'export' or 'eval' again" in said
    for name in ("export", "eval"):
        assert verb(name, exported) == 0
    capsys.readouterr()
    assert verb("eval", exported) == 0
    assert "is of the detector" not in capsys.readouterr().err


def test_an_export_keeps_what_calibrate_set_for_the_same_detector(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = load_config(exported).folder
    good = new_good(tmp_path / "new")
    model = ["--model", str(folder.inference)]
    assert main(["calibrate", *model, "--good", str(good)]) == 0
    calibrated = InferenceCard.read(folder.inference)
    assert calibrated.calibrated_since
    assert verb("export", exported, "--format", "paddle,onnx") == 0
    again = InferenceCard.read(folder.inference)
    assert "model.onnx" in again.files and again.calibrated_since
    assert (again.threshold, again.scale) == (calibrated.threshold, calibrated.scale)
    assert again.detector["calibration"] == calibrated.detector["calibration"]
    capsys.readouterr()
    assert verb("eval", exported) == 0
    assert "which 'calibrate' set" in capsys.readouterr().err
    # Another detector has other scores.
    assert verb("refit", exported, "--good", str(good)) == 0
    assert "was for another detector and is gone" in capsys.readouterr().err
    assert not InferenceCard.read(folder.inference).calibrated_since


def test_a_refused_precision_leaves_the_float_export_and_says_so(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    words = ("--format", "paddle,onnx", "--int8", "--max-drop=-101")
    assert verb("export", exported, *words) == 2
    folder = load_config(exported).folder.inference
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: ") and "was exported without INT8" in said
    card = InferenceCard.read(folder)
    assert "model.onnx" in card.files and "model_int8.onnx" not in card.files
    for name in card.files:
        card.read_file(folder / name)


def test_calibrate_does_not_write_into_what_was_exchanged_meanwhile(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = load_config(exported).folder
    good = new_good(tmp_path / "new")
    judged = calibrating._judged

    def exchanging(*arguments: object) -> object:
        found = judged(*arguments)
        assert verb("refit", exported, "--good", str(good)) == 0
        return found

    monkeypatch.setattr(calibrating, "_judged", exchanging)
    with pytest.raises(ModelError, match="was replaced while it was calibrated"):
        calibrating.calibrate(folder.inference, str(good))
    card = InferenceCard.read(folder.inference)
    for name in card.files:
        card.read_file(folder.inference / name)
    assert card.threshold == pytest.approx(float(load_detector(folder.detector).threshold))
