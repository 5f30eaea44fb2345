"""The same YAML in both engines is the same training, the same detector, the same figures."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppcls_sspcab.cli.main import main
from ppcls_sspcab.detector.file import load_detector
from ppcls_sspcab.utils.weights import read_weights

STEPS = [
    "-o",
    "Global.epochs=5",
    "-o",
    "Global.iter_per_epoch=4",
    "-o",
    "Global.print_batch_step=1",
]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def folder_of(path: Path) -> Path:
    """The only category's folder."""
    (folder,) = path.iterdir()
    return folder


def saved(folder: Path, name: str) -> Path:
    """A file of PaddleClas's engine; older versions add the architecture's name."""
    (path,) = folder.rglob(name)
    return path


def test_twenty_steps_and_the_evaluation_agree(
    run: Callable[..., Any], cutpaste_yaml: Path, tmp_path: Path
) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    words = ["-c", cutpaste_yaml, *STEPS, "-o", "Global.freeze_steps=3", "-o"]
    outcome = run(
        ["train", *words, f"Global.output_dir={theirs}"],
        ["eval", *words, f"Global.output_dir={theirs}"],
    )
    for verb in ("train", "eval"):
        assert main([verb, *map(str, words), f"Global.output_dir={ours}"]) == 0

    log = rows(folder_of(ours) / "train.csv")
    assert len(log) == len(outcome.losses) == 20
    for name in ("CELoss", "SSPCABLoss"):
        expected = [float(row[name]) for row in log]
        found = [step[name] for step in outcome.losses]
        np.testing.assert_allclose(found, expected, rtol=1e-5, err_msg=name)

    figures = [
        json.loads((folder_of(root) / "results.json").read_text()) for root in (theirs, ours)
    ]
    for name in ("image_auroc", "image_aupr", "f1", "detection_rate", "threshold"):
        assert figures[0][name] == pytest.approx(figures[1][name], rel=1e-6), name
    left, right = (rows(folder_of(root) / "results.csv") for root in (theirs, ours))
    assert [row["path"] for row in left] == [row["path"] for row in right]
    for name in ("score", "normalized_score"):
        np.testing.assert_allclose(
            [float(row[name]) for row in left], [float(row[name]) for row in right], rtol=1e-5
        )

    # Their weights are the detector's.
    weights = read_weights(saved(folder_of(theirs), "latest.pdparams"))
    detector = load_detector(folder_of(theirs) / "detector.safetensors")
    state = detector.network.state_dict()
    assert weights.keys() == state.keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(value, state[name].numpy(), err_msg=name)


def test_their_scripts_do_all_four_verbs_with_our_weights(
    run: Callable[..., Any], paddleclas_home: Path, cutpaste_yaml: Path, tmp_path: Path
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for verb in ("train", "eval"):
        assert main([verb, "-c", str(cutpaste_yaml), "-o", f"Global.output_dir={ours}"]) == 0
    network = {
        name.removeprefix("network."): value
        for name, value in read_weights(folder_of(ours) / "detector.safetensors").items()
        if name.startswith("network.")
    }
    from ppcls_sspcab.utils.weights import write_safetensors

    write_safetensors(tmp_path / "network.safetensors", network)
    weights = tmp_path / "network.pdparams"
    assert main(["convert", str(tmp_path / "network.safetensors"), str(weights)]) == 0

    category = folder_of(ours).name
    data = json.loads((folder_of(ours) / "detector.json").read_text())["protocol"]["data_root"]
    words = ["-c", cutpaste_yaml, "-o", f"Global.output_dir={theirs}"]
    pretrained = ["-o", f"Global.pretrained_model={weights.with_suffix('')}"]
    pictures = ["-o", f"Infer.infer_imgs={data}/{category}/test"]
    scripts = written_scripts(paddleclas_home, tmp_path)
    outcome = run(
        [scripts / "eval.py", *words, *pretrained],
        [scripts / "infer.py", *words, *pictures],
        [scripts / "export_model.py", *words],
    )
    expected = rows(folder_of(ours) / "results.csv")
    found = rows(folder_of(theirs) / "results.csv")
    for left, right in zip(found, expected, strict=True):
        assert left["path"] == right["path"]
        assert float(left["score"]) == pytest.approx(float(right["score"]), rel=1e-6)
    records = [json.loads(line) for line in outcome.text.splitlines() if line.startswith("{")]
    scores = {record["path"]: record["score"] for record in records}
    assert scores == {row["path"]: pytest.approx(float(row["score"]), rel=1e-5) for row in expected}
    assert (folder_of(theirs) / "inference" / "inference.json").is_file()


def written_scripts(home: Path, folder: Path) -> Path:
    """The checkout's tools, or ones like them where the wheel left them out."""
    if (home / "tools" / "eval.py").is_file():
        return home / "tools"
    tools = folder / "checkout" / "tools"
    tools.mkdir(parents=True)
    for name, mode in {"eval": "eval", "infer": "infer", "export_model": "export"}.items():
        (tools / f"{name}.py").write_text(
            "from ppcls.utils import config\n"
            "from ppcls.engine.engine import Engine\n"
            "if __name__ == '__main__':\n"
            "    args = config.parse_args()\n"
            "    tree = config.get_config(args.config, overrides=args.override, show=False)\n"
            f"    Engine(tree, mode='{mode}').{mode}()\n"
        )
    return tools


def test_a_mistake_is_one_line_and_code_2(
    paddleclas_home: Path, cutpaste_yaml: Path, tmp_path: Path
) -> None:
    from integrations_support import environment

    command = [
        sys.executable,
        "-m",
        "ppcls_sspcab.integrations.paddleclas",
        "train",
        "-c",
        str(cutpaste_yaml),
    ]
    process = subprocess.run(
        [*command, "-o", "Global.category=all"],
        env=environment(paddleclas_home),
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 2
    (line,) = [line for line in process.stderr.splitlines() if line.startswith("error:")]
    assert "Global.category" in line and "one category at a time" in line


def test_our_command_line_trains_by_their_engine(
    run: Callable[..., Any], cutpaste_yaml: Path, tmp_path: Path
) -> None:
    words = ["-c", cutpaste_yaml, "-o", "Global.category=all", "-o", "Global.engine=paddleclas"]
    outcome = run(["train", *words], BUILTIN="1")
    assert len(re.findall(r"ppcls INFO: \[Train\]\[Epoch 2/2\]\[Iter: 3/4\]", outcome.text)) == 2
    detectors = sorted((tmp_path / "output").rglob("detector.safetensors"))
    assert [path.parent.name for path in detectors] == ["gasket", "mesh"]
