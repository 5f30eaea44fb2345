"""One score: every protocol, the command line, and the predictor itself."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from served import Running

from ppcls_sspcab.runtime import command
from ppcls_sspcab.runtime.predictor import Predictor


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files of several kinds and sizes."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number, (size, suffix) in enumerate(
        [((24, 16), "png"), ((90, 70), "jpg"), ((5, 7), "png")]
    ):
        pixels = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.{suffix}")
    Image.fromarray(rng.integers(0, 256, (40, 40), np.uint8)).save(folder / "3.png")
    return sorted(folder.iterdir())


def test_all_ways_to_a_score_agree(
    served: Running, model: Path, pictures: list[Path], tmp_path: Path
) -> None:
    contents = [path.read_bytes() for path in pictures]
    expected = [one.score for one in Predictor(model, "onnx", threads=1).predict(pictures)]

    words = ["--model", str(model), "--backend", "onnx", "--threads", "1"]
    records = tmp_path / "records.jsonl"
    assert command.main([*words, *map(str, pictures), "--output", str(records)]) == 0
    lines = records.read_text(encoding="utf-8").splitlines()

    found = {"command line": [json.loads(line)["score"] for line in lines]}
    with served.client() as client:
        alone = [client.post("/v1/models/lamp/predict", content=one).json() for one in contents]
        found["v1, alone"] = [one["inspections"][0]["score"] for one in alone]
        parts = [("pictures", (path.name, path.read_bytes())) for path in pictures]
        form = client.post("/v1/models/lamp/predict", files=parts).json()
        found["v1, a form"] = [one["score"] for one in form["inspections"]]
        encoded = [base64.b64encode(one).decode() for one in contents]
        tensor = {
            "name": "files",
            "datatype": "BYTES",
            "shape": [len(encoded)],
            "parameters": {"content_type": "base64"},
            "data": encoded,
        }
        answer = client.post("/v2/models/lamp/infer", json={"inputs": [tensor]}).json()
        found["v2"] = next(one["data"] for one in answer["outputs"] if one["name"] == "score")
        paddlex = [
            client.post("/image-anomaly-detection", json={"image": one}).json() for one in encoded
        ]
        found["PaddleX"] = [one["result"]["score"] for one in paddlex]
    for way, scores in found.items():
        assert scores == pytest.approx(expected, rel=1e-5), way
