import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from environments import environment_of
from paddle import nn
from PIL import Image

from ppcls_sspcab.detector.card import DetectorCard
from ppcls_sspcab.exporting.export import export_detector
from ppcls_sspcab.image.preprocess import Preprocess

ROOT = Path(__file__).resolve().parents[2]
PREDICT = ROOT / "deploy" / "python" / "predict.py"
INFER = ROOT / "deploy" / "infer.py"
TRAINING_PACKAGES = ("sklearn", "paddleclas", "scipy", "matplotlib", "visualdl", "cv2")
PREPROCESS = Preprocess(image_size=(32, 32))

# Makes packages absent for the program that follows on the command line.
BLOCKER = """
import runpy, sys
absent = sys.argv[1].split(",")
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Detector(nn.Layer):
    def __init__(self):
        super().__init__()
        paddle.seed(3)
        self.body = nn.Sequential(nn.Conv2D(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2D(8, 4, 3))
        self.register_buffer("threshold", paddle.full([], 0.0))
        self.register_buffer("scale", paddle.full([], 0.1))
        self.eval()

    def forward(self, images):
        embedding = self.body(images).mean(axis=[2, 3])
        score = (embedding * embedding).sum(-1).sqrt()
        deviation = (score - self.threshold) / self.scale
        normalized_score = 0.5 + 0.5 * deviation / (1.0 + deviation.abs())
        return {"score": score, "normalized_score": normalized_score, "embedding": embedding}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model, and pictures of every kind whose scores the eager detector gives."""
    folder = tmp_path_factory.mktemp("deployed")
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    noise = Image.fromarray(pixels).resize((60, 45), Image.Resampling.BICUBIC)
    (folder / "parts").mkdir()
    noise.save(folder / "parts" / "a.png")
    noise.save(folder / "parts" / "b.jpg", quality=80)
    noise.convert("L").save(folder / "parts" / "c.png")
    noise.convert("RGBA").resize((32, 32)).save(folder / "parts" / "d ü.png")
    detector = Detector()
    paths = sorted((folder / "parts").iterdir())
    with paddle.no_grad():
        scores = detector(paddle.to_tensor(PREPROCESS(paths)))["score"].numpy()
    detector.threshold.set_value(np.array(np.median(scores), np.float32))
    card = DetectorCard(arch={}, density={}, preprocess=PREPROCESS, category="part")
    export_detector(detector, card, folder / "model", ["paddle", "onnx"])
    (folder / "parts" / "e.png").write_bytes(b"no picture")
    return folder, dict(zip(map(str, paths), scores.tolist(), strict=True))


def without(*absent):
    """A Python that does not find some packages."""
    return [sys.executable, "-c", BLOCKER, ",".join(absent)]


def run(program, *arguments, python, check=True):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [*map(str, python), str(program), *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**environment, "PYTHONIOENCODING": "utf-8"},
        cwd=os.sep,
        timeout=120,
        check=False,
    )
    assert not check or result.returncode == 0, result.stderr
    return result


def check_scores(lines, expected):
    records = [json.loads(line) for line in lines]
    scores = {record["path"]: record["score"] for record in records if "score" in record}
    assert scores == pytest.approx(expected, rel=1e-4)
    (failure,) = (record for record in records if "error" in record)
    assert failure["path"].endswith("e.png")
    for record in records:
        if "score" in record:
            assert record["is_anomaly"] == (record["score"] > record["threshold"])


def test_paddle_needs_no_training_package(place):
    folder, expected = place
    python = without(*TRAINING_PACKAGES, "onnx", "onnxruntime")
    result = run(INFER, "--model", folder / "model", folder / "parts", python=python)
    check_scores(result.stdout.splitlines(), expected)


def test_onnx_runs_in_an_environment_without_paddle(place, tmp_path):
    folder, expected = place
    python = environment_of(tmp_path / "line_side", "numpy", "pillow", "pyyaml", "onnxruntime")
    assert run("paddle", "--version", python=[python, "-m"], check=False).returncode != 0
    arguments = ("--model", folder / "model", "--batch-size", 3, folder / "parts")
    named = run(PREDICT, "--backend", "onnx", *arguments, python=[python])
    check_scores(named.stdout.splitlines(), expected)
    assert run(PREDICT, *arguments, python=[python]).stdout == named.stdout


def test_both_backends_in_the_same_words(place):
    folder, expected = place
    arguments = ("--backend", "paddle", "--model", folder / "model", folder / "parts")
    result = run(PREDICT, *arguments, python=[sys.executable])
    check_scores(result.stdout.splitlines(), expected)


def test_list_glob_csv_and_exit_codes(place, tmp_path):
    folder, expected = place
    (folder / "list.txt").write_text("parts/a.png\nparts/b.jpg\n", encoding="utf-8")
    output = tmp_path / "records.csv"
    common = ("--model", folder / "model", "--backend", "onnx")
    result = run(
        PREDICT, *common, folder / "list.txt", f"{folder}/parts/c*", "--format", "csv",
        "--output", output, "--threshold", 0, "--fail-on-anomaly",
        check=False, python=[sys.executable],
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (3, "")
    with output.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [Path(row["path"]).name for row in rows] == ["a.png", "b.jpg", "c.png"]
    assert {row["path"]: float(row["score"]) for row in rows} == pytest.approx(
        {path: score for path, score in expected.items() if "ü" not in path}, rel=1e-4
    )
    assert {row["is_anomaly"] for row in rows} == {"true"}
    calm = (*common, folder / "parts" / "a.png", "--threshold", 1e6, "--fail-on-anomaly")
    assert run(PREDICT, *calm, python=[sys.executable]).returncode == 0


@pytest.mark.parametrize(
    ("absent", "backend", "package"),
    [
        ("paddle", "paddle", "paddlepaddle"),
        ("onnxruntime", "onnx", "onnxruntime"),
        ("openvino", "openvino", "openvino"),
    ],
)
def test_a_missing_runtime_is_named(place, absent, backend, package):
    folder, _ = place
    arguments = ("--backend", backend, "--model", folder / "model", folder / "parts")
    result = run(PREDICT, *arguments, python=without(absent), check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert f"pip install {package}" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_wrong_input_is_one_line(place, tmp_path):
    folder, _ = place
    for arguments in (
        ("--model", tmp_path, folder / "parts"),
        ("--model", folder / "model", tmp_path / "absent.png"),
    ):
        result = run(PREDICT, *arguments, python=[sys.executable], check=False)
        assert result.returncode == 2
        assert len(result.stderr.splitlines()) == 1
        assert result.stdout == ""


def test_the_export_program_is_the_verb():
    result = run(ROOT / "deploy" / "export_model.py", "--help", python=without("paddle"))
    assert "--format" in result.stdout
