"""What the export emits is what is let in, for every backbone, score, localizer and block."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import paddle
import pytest

from ppcls_sspcab.detector.build import build_detector
from ppcls_sspcab.detector.detector import Detector
from ppcls_sspcab.detector.run import read_features
from ppcls_sspcab.detector.threshold.target_fpr import TargetFPR
from ppcls_sspcab.errors import ModelError
from ppcls_sspcab.exporting.graph import DetectorGraph, save_paddle
from ppcls_sspcab.exporting.onnx import save_onnx
from ppcls_sspcab.exporting.quantize import quantize
from ppcls_sspcab.exporting.verify import eager_outputs, noise
from ppcls_sspcab.fitting.run import combine, score_parts
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.registry import ARCHITECTURES, BACKBONES, DENSITIES, IMAGE_SCORES, LOCALIZERS
from ppcls_sspcab.runtime.networks import OnnxNetwork, PaddleNetwork
from ppcls_sspcab.runtime.operators import check_onnx, checked_program

SIZE = (32, 48)
PREPROCESS = Preprocess(image_size=SIZE)
EMBEDDING = {"name": "embedding"}
SCORES = {
    "fused": {"name": "fused", "parts": ["embedding", "logit", "map_max", "place_gaussian"]},
    "auto": {"name": "auto", "scores": [EMBEDDING, {"name": "logit"}]},
    "patch_bank": {"name": "patch_bank", "size": 5},
}
MAP = {"name": "FeatureGaussian", "channels": 16}
MAPS = {
    "FeatureGaussian": MAP,
    "PatchBank": {"name": "PatchBank", "size": 5, "position": 0.5},
    "PatchCutPaste": {"name": "PatchCutPaste", "patch_size": 16, "stride": 8, "channels": 16},
}
TILES = {"size": [32, 32], "overlap": 0.5}
SHIPPED = [name for name in BACKBONES.names() if name != "TinyBackbone"]
OF_PADDLECLAS = [name for name in SHIPPED if name[0].isupper()]
OPTIONS: dict[str, dict] = {
    **{name: {"score": SCORES.get(name, {"name": name})} for name in IMAGE_SCORES.names()},
    **{name: {"localize": MAPS.get(name, {"name": name})} for name in LOCALIZERS.names()},
    **{name: {"density": {"name": name}, "localize": None} for name in DENSITIES.names()},
    **{name: {"backbone": name, "localize": None} for name in SHIPPED},
    "tiles": {"score": SCORES["fused"], "tiling": TILES},
}


def fitted(
    backbone: str = "resnet18",
    score: dict | None = None,
    localize: dict | None = MAP,
    density: dict | None = None,
    tiling: dict | None = None,
) -> Detector:
    paddle.seed(0)
    arch = {"name": "CutPasteNet", "class_num": 3, "Backbone": {"name": backbone}}
    network = ARCHITECTURES.build({**arch, "Block": {"name": "SSPCAB"}}, "Arch")
    network.eval()
    density = density or {"name": "GaussianDensity"}
    made = build_detector(network, SIZE, density, score or EMBEDDING, localize, tiling)
    images = np.random.default_rng(0).normal(size=(7, 3, *SIZE)).astype(np.float32)
    found = read_features(made, images)
    made.fit([found])
    parts, pixels = score_parts(made, found, 1000)
    made.image_score.standardize(parts)
    threshold = TargetFPR(0.2)
    map_threshold = threshold.calibrate(pixels) if localize else None
    made.calibrate(threshold.calibrate(combine(made.image_score, parts)), map_threshold)
    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    "option",
    [
        pytest.param(name, marks=pytest.mark.paddleclas if name in OF_PADDLECLAS else ())
        for name in OPTIONS
    ],
)
def test_what_the_export_emits_is_let_in(option: str, tmp_path: Path) -> None:
    pytest.importorskip("paddle2onnx", reason="the ONNX extra is not installed")
    detector = fitted(**OPTIONS[option])
    expected = eager_outputs(detector, PREPROCESS.normalize(noise(PREPROCESS)))
    outputs = ["score", "normalized_score", *sorted(set(expected) - {"score", "normalized_score"})]
    pixels = option in ("fused", "tiles")
    save_paddle(
        DetectorGraph(detector, outputs, PREPROCESS if pixels else None), PREPROCESS, tmp_path
    )
    program = (tmp_path / "inference.json").read_bytes()
    assert json.loads(checked_program(program, "program")) == json.loads(program)
    save_onnx(tmp_path, outputs)
    check_onnx((tmp_path / "model.onnx").read_bytes(), "model")
    if "embedding" in outputs:
        prepare = np.asarray if pixels else PREPROCESS.normalize
        model, int8 = tmp_path / "model.onnx", tmp_path / "int8.onnx"
        quantize(model, int8, noise(PREPROCESS), prepare)
        check_onnx(int8.read_bytes(), "int8")


class CheckedNumerics(paddle.nn.Layer):
    """Scores as it should, and appends to a file wherever the program's author likes."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = str(folder)
        self.factor = self.create_parameter([1])

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        score = (images * self.factor).mean(axis=[1, 2, 3])
        found = paddle._C_ops.check_numerics(score, "an attacker's text", "", 0, 1, self.folder)
        return score + 0.0 * found[1].sum()


def test_a_program_that_scores_and_writes_files_is_refused(tmp_path: Path) -> None:
    layer, target = CheckedNumerics(tmp_path / "target"), tmp_path / "model"
    target.mkdir()
    spec = paddle.static.InputSpec([None, 3, *SIZE], "float32", "images")
    static = paddle.jit.to_static(layer, input_spec=[spec], full_graph=True)
    paddle.jit.save(static, str(target / "inference"))
    assert b"check_numerics" in (target / "inference.json").read_bytes()
    with pytest.raises(ModelError, match=r"inference\.json: refused: .*check_numerics"):
        PaddleNetwork(target, ["score"])


def test_an_onnx_model_is_never_read_as_onnx_runtimes_own_format(tmp_path: Path) -> None:
    helper = pytest.importorskip("onnx.helper", reason="the ONNX extra is not installed")
    given, score = (helper.make_tensor_value_info(name, 1, [4]) for name in ("images", "score"))
    node = helper.make_node("Relu", ["images"], ["score"])
    graph = helper.make_graph([node], "graph", [given], [score])
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    # The producer's name, where ONNX Runtime looks for the mark of its own format.
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x08\x12\x04ORTM" + model.SerializeToString())
    found = OnnxNetwork(path).run(np.array([-1, 0, 1, 2], np.float32))
    assert found["score"].tolist() == [0, 0, 1, 2]
