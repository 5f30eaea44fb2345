"""A model that is damaged, or whole but wrong, makes the chain fail."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from tipc_support import bash, copy_of_test_tipc, needs_bash, parameters

from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.detector.file import load_detector
from ppcls_sspcab.engine.engine import Engine
from ppcls_sspcab.exporting.export import export_detector

pytestmark = needs_bash


def run_chain(root: Path, model: Path, pictures: Path, **environment: str) -> tuple[int, str]:
    text = parameters(
        "train_infer_python.txt",
        {
            2: f"python:{sys.executable}",
            36: f"infer_model:{model}",
            37: "infer_export:False",
            40: "--device:cpu",
            41: "--onednn:True",
            42: "--threads:1",
            43: "--batch-size:2",
            47: f"image_dir:{pictures}",
        },
    ).replace("test_tipc/data/current", "nowhere")
    script = "test_train_inference_python.sh"
    done = bash(root, script, text, "whole_infer", TIPC_GPU="no", **environment)
    output = root / "test_tipc" / "output" / "SSPCAB_ResNet18" / "whole_infer"
    verdicts = (output / "results_python.log").read_text(encoding="utf-8")
    assert verdicts == done.stdout
    return done.returncode, verdicts


@pytest.fixture
def model(tiny_yaml: Path, tmp_path: Path) -> tuple[Path, Path, Path]:
    """An export, the same of a detector with one weight turned, and pictures."""
    config = load_config(tiny_yaml, ["Score.name=embedding", "Localize=null"])
    (path,) = Engine(config, "train").train()
    detector = load_detector(path)
    card = detector.card
    good = export_detector(detector, card, tmp_path / "good")
    weight = detector.network.parameters()[0]
    weight.set_value(-weight)
    wrong = export_detector(detector, card, tmp_path / "wrong")
    return good, wrong, Path(config.Global.data_root) / config.Global.category / "test"


@pytest.mark.slow
def test_a_wrong_model_fails_the_chain(model: tuple[Path, Path, Path], tmp_path: Path) -> None:
    good, wrong, pictures = model
    root = copy_of_test_tipc(tmp_path / "repository")
    status, verdicts = run_chain(root, good, pictures, TIPC_STORE="1")
    assert status == 0, verdicts
    assert verdicts.count("Run successfully with command - SSPCAB_ResNet18 - ") == 3
    assert "TIPC OK" in verdicts

    # It runs, and its numbers are others than the stored ones.
    status, verdicts = run_chain(root, wrong, pictures)
    assert status == 1
    assert verdicts.count("Run successfully") == 2
    (failed,) = [line for line in verdicts.splitlines() if line.startswith("Run failed")]
    assert "compare_results.py --gt_file=test_tipc/results/" in failed

    # A single byte: the program refuses the file, and nothing is compared.
    damaged = shutil.copytree(good, tmp_path / "damaged") / "inference.pdiparams"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    status, verdicts = run_chain(root, damaged.parent, pictures)
    assert status == 1
    assert "Run successfully" not in verdicts
    assert "TIPC FAILED SSPCAB_ResNet18 whole_infer: 0 successful, 1 failed" in verdicts
