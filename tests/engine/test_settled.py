"""Keys that a detector has settled: refused by name where a verb cannot apply them."""

from __future__ import annotations

from pathlib import Path

import pytest

import ppcls_sspcab as ad
from ppcls_sspcab.cli.main import main
from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.config.settled import FITTED, TRAINED, refuse_settled, settled_values
from ppcls_sspcab.errors import ConfigError

DEMO = Path(__file__).resolve().parents[2] / "configs/demo.yaml"
MADE = settled_values(load_config(DEMO), TRAINED + FITTED)


@pytest.mark.parametrize(
    "override",
    [
        "Threshold.target_fpr=0.01",
        "Threshold.pixel_fpr=0.1",
        "Score.name=embedding",
        "Score={name: embedding}",
        "Density.name=KernelDensity",
        "Localize=null",
        "Preprocess.image_size=[96, 96]",
        "Arch.Head.hidden_layers=2",
        "Optimizer.lr.learning_rate=1",
        "Loss.Train.0.CELoss.weight=2",
        "Tolerance.blur=1",
    ],
)
def test_an_override_of_a_settled_key_is_refused(override: str) -> None:
    key = override.partition("=")[0]
    with pytest.raises(ConfigError, match="the detector was made with") as caught:
        refuse_settled(load_config(DEMO, [override]), MADE)
    assert str(caught.value).startswith(f"-o on the command line: {key}")


@pytest.mark.parametrize(
    "override",
    [
        "Threshold.target_fpr=0.05",
        "Global.data_root=elsewhere",
        "Infer.batch_size=1",
        "Arch.pretrained=weights.pdparams",
    ],
)
def test_the_same_value_and_what_is_not_settled_are_taken(override: str) -> None:
    refuse_settled(load_config(DEMO, [override]), MADE)


def test_a_file_that_differs_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.yaml").write_text(f"_BASE_: {DEMO}\nThreshold: {{target_fpr: 0.2}}\n")
    refuse_settled(load_config(tmp_path / "other.yaml"), MADE)
    assert "Threshold.target_fpr (0.05, not 0.2)" in capsys.readouterr().err
    refuse_settled(load_config(DEMO, ["Threshold.target_fpr=0.2"]), {})


def test_verbs_refuse_and_a_threshold_is_taken(
    tiny_yaml: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config(tiny_yaml, ["Global.epochs=0"])
    detector = ad.train(config)
    detector_file = str(config.folder.detector)
    pictures = str(Path(config.Global.data_root) / config.Global.category / "test" / "good")
    key = ["-o", "Threshold.target_fpr=0.01"]
    for words in (
        ["predict", "-c", str(tiny_yaml), *key, pictures],
        ["predict", "--detector", detector_file, "-c", str(tiny_yaml), *key, pictures],
        ["eval", "-c", str(tiny_yaml), *key],
        ["export", "-c", str(tiny_yaml), *key],
    ):
        capsys.readouterr()
        assert main(words) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert "Threshold.target_fpr" in error and "0.05" in error and "--threshold" in error
    assert main(["refit", "-c", str(tiny_yaml), "--good", pictures, "-o", "Arch.Block=null"]) == 2
    assert "Arch.Block" in capsys.readouterr().err

    assert main(["eval", "-c", str(tiny_yaml), "--threshold", "-1000"]) == 0
    results = config.folder.results_json.read_text(encoding="utf-8")
    assert '"threshold": -1000.0' in results and '"false_alarm_rate": 1.0' in results
    assert '"threshold_given": -1000.0' in results and "target_kept" not in results
    assert main(["eval", "-c", str(tiny_yaml), "--threshold", "nan"]) == 2
    calibrated = float(detector.threshold)
    ad.evaluate(config, detector=detector, threshold=1e6)
    assert float(detector.threshold) == calibrated
