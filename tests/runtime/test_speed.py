import re
import subprocess
import sys
from pathlib import Path

import paddle
import pytest
from paddle import nn

from ppcls_sspcab.detector.card import DetectorCard
from ppcls_sspcab.exporting.export import export_detector
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.runtime.predictor import BACKENDS
from ppcls_sspcab.runtime.speed import EAGER, Measured, Timing, to_markdown

PROGRAM = Path(__file__).resolve().parents[2] / "deploy" / "speed.py"


class Detector(nn.Layer):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2D(3, 4, 3, stride=2, padding=1)
        self.second = nn.Conv2D(4, 6, 3, groups=2)
        self.register_buffer("matrix", paddle.randn([6, 5]))
        self.register_buffer("threshold", paddle.full([], 1.0))
        self.register_buffer("scale", paddle.full([], 1.0))

    def forward(self, images):
        embedding = self.second(self.first(images)).mean(axis=[2, 3])
        score = (embedding @ self.matrix).square().sum(-1)
        return {"score": score, "normalized_score": score - 1.0, "embedding": embedding}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    card = DetectorCard(
        arch={}, density={}, preprocess=Preprocess(image_size=(16, 24)), category="part"
    )
    folder = tmp_path_factory.mktemp("speed") / "inference"
    return export_detector(Detector(), card, folder, ["paddle", "onnx"])


@pytest.mark.slow
def test_every_backend_threads_and_batch_has_a_row(model, tmp_path):
    output = tmp_path / "table.md"
    words = ["--threads", "1,2", "--batch", "1,3", "--runs", "3", "--rounds", "1"]
    command = [sys.executable, str(PROGRAM), "--model", str(model), *words, "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)
    assert done.stdout == output.read_text()
    text = re.sub(" +", " ", done.stdout)  # its columns are aligned
    rows = re.findall(r"^\| (paddle|onnx|openvino) \| (\d) \| (\d) \| [\d.]+ / ", text, re.M)
    assert sorted(rows) == sorted(
        (backend, threads, batch) for backend in BACKENDS for threads in "12" for batch in "13"
    )
    second_table = r"^\| \w+ \| \d \| [\d.]+ \| (\d+) \| [\d.]+ \| [\d.]+ \|$"
    memory = re.findall(second_table, text, re.M)
    assert len(memory) == 6
    assert all(int(mebibytes) > 20 for mebibytes in memory)


def test_ratios_are_those_of_the_medians():
    eager = Measured({2: Timing([1.0, 4.0, 2.0], [1.0])}, [3.0], [100.0], 5e9)
    onnx = Measured({2: Timing([0.5, 0.5, 9.0], [0.2, 0.4, 0.3])}, [1.0], [50.0], 4e9)
    text = to_markdown({(EAGER, 1): eager, ("onnx", 1): onnx}, {"onnx": 7.25}, int(1e8))
    text = re.sub(" +", " ", text)
    (row,) = (line for line in text.splitlines() if line.startswith("| onnx | 1 | 2 |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[3].startswith("500.0 / ")
    assert cells[4:] == ["4.0", "300.0 / 390.0 / 398.0", "6.7", "4.00", "7.50"]
    assert "| onnx | 1 | 1.00 | 50 | 7.2 | 4.0 |" in text


def test_a_mistake_is_one_line(tmp_path):
    command = [sys.executable, str(PROGRAM), "--model", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1
