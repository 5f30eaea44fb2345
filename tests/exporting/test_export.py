import importlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import paddle
import pytest
import yaml
from paddle import nn

from ppcls_sspcab.detector.card import DetectorCard
from ppcls_sspcab.detector.detector import Detector
from ppcls_sspcab.detector.scores.embedding import EmbeddingScore
from ppcls_sspcab.errors import ConfigError, ModelError, UserError
from ppcls_sspcab.exporting import verify
from ppcls_sspcab.exporting.export import export_detector
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.runtime.card import InferenceCard
from ppcls_sspcab.runtime.networks import OnnxNetwork, OpenVinoNetwork, PaddleNetwork
from ppcls_sspcab.runtime.predictor import BACKENDS, Predictor
from ppcls_sspcab.utils.files import sha256_of

SIZE = (24, 40)
ONNX_PACKAGES = ("paddle2onnx", "onnxruntime", "openvino")
PREPROCESS = Preprocess(image_size=SIZE, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


class TinyDetector(nn.Layer):
    """A Detector in small: convolutions, a map, a Mahalanobis score, a threshold."""

    def __init__(self, pad=None):
        super().__init__()
        paddle.seed(0)
        self.pad = pad or nn.Identity()
        self.stem = nn.Conv2D(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2D(8)
        self.last = nn.Conv2D(8, 6, 3)
        self.register_buffer("precision", paddle.randn([6, 6]))
        self.register_buffer("threshold", paddle.full([], 1.5))
        self.register_buffer("scale", paddle.full([], 0.3))
        self.eval()

    def forward(self, images):
        features = nn.functional.relu(self.norm(self.stem(images)))
        features = self.last(self.pad(features))
        embedding = features.mean(axis=[2, 3])
        embedding = embedding / (embedding * embedding).sum(-1, keepdim=True).sqrt()
        difference = embedding @ self.precision
        score = (difference * difference).sum(-1).clip(min=0.0).sqrt()
        deviation = (score - self.threshold) / self.scale
        return {
            "score": score,
            "normalized_score": 0.5 + 0.5 * deviation / (1.0 + deviation.abs()),
            "embedding": embedding,
            "map": features.abs().mean(1),
        }


def card(preprocess=PREPROCESS):
    return DetectorCard(arch={}, density={}, preprocess=preprocess, category="bottle")


def pictures(count=3, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (count, *SIZE, 3), np.uint8)


def graph_input(pixels, input_type):
    return pixels if input_type == "uint8" else PREPROCESS.normalize(pixels)


def eager(detector, pixels):
    with paddle.no_grad():
        outputs = detector(paddle.to_tensor(PREPROCESS.normalize(pixels)))
    return {name: value.numpy() for name, value in outputs.items()}


@pytest.fixture(scope="module", params=["float32", "uint8"])
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "inference"
    detector = TinyDetector()
    export_detector(detector, card(), folder, ("paddle", "onnx"), request.param)
    return detector, folder, request.param


def test_the_folder_holds_what_the_card_lists(exported):
    _, folder, input_type = exported
    names = sorted(file.name for file in folder.iterdir())
    assert names == ["inference.json", "inference.pdiparams", "inference.yml", "model.onnx"]
    content = yaml.safe_load((folder / "inference.yml").read_text(encoding="utf-8"))
    assert content["files"] == {
        name: sha256_of(folder / name) for name in names if name != "inference.yml"
    }
    assert content["preprocess"] == PREPROCESS.to_dict()
    assert content["outputs"] == ["score", "normalized_score", "embedding", "map"]
    assert (content["threshold"], content["category"]) == (1.5, "bottle")
    assert content["scale"] == float(np.float32(0.3))
    assert content["input"]["type"] == input_type
    assert set(content["versions"]) == {"ppcls_sspcab", "paddle", *ONNX_PACKAGES}
    worst = content["verification"]["worst_relative_difference"]
    assert set(worst) == {"paddle_onednn", "paddle", "onnxruntime", "openvino"}
    assert all(0 <= value < 1e-3 for value in worst.values())
    assert content["verification"]["pictures"] == 4


@pytest.mark.parametrize("count", [1, 4])
def test_every_runtime_gives_the_detectors_outputs(exported, count):
    detector, folder, input_type = exported
    pixels = pictures(count, seed=7)
    expected = eager(detector, pixels)
    outputs = InferenceCard.read(folder).outputs
    given = graph_input(pixels, input_type)
    for network in (
        PaddleNetwork(folder, outputs, onednn=True),
        PaddleNetwork(folder, outputs, onednn=False),
        OnnxNetwork(folder / "model.onnx"),
        OpenVinoNetwork(folder / "model.onnx", outputs),
    ):
        found = network.run(given)
        assert list(found) == list(outputs)
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-4)


def test_openvino_never_takes_bfloat16_by_itself(exported, monkeypatch):
    """Left alone, it does on processors that have it."""
    _, folder, input_type = exported
    outputs = InferenceCard.read(folder).outputs
    compiled = []
    compile_model = openvino.Core.compile_model

    def noted(*arguments):
        compiled.append(compile_model(*arguments))
        return compiled[-1]

    monkeypatch.setattr(openvino.Core, "compile_model", noted)
    network = OpenVinoNetwork(folder / "model.onnx", outputs, threads=1)
    (model,) = compiled
    assert model.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    assert model.get_property("INFERENCE_NUM_THREADS") == 1
    with pytest.raises(ModelError, match="no output nothing"):
        OpenVinoNetwork(folder / "model.onnx", [*outputs, "nothing"])
    assert list(network.run(graph_input(pictures(1), input_type))) == list(outputs)


def test_threads_share_an_openvino_model(exported):
    detector, folder, input_type = exported
    outputs = InferenceCard.read(folder).outputs
    network = OpenVinoNetwork(folder / "model.onnx", outputs, threads=1)
    batches = [pictures(1 + index % 3, seed=index) for index in range(24)]
    given = [graph_input(pixels, input_type) for pixels in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(network.run, given))
    for pixels, result in zip(batches, found, strict=True):
        np.testing.assert_allclose(result["score"], eager(detector, pixels)["score"], rtol=1e-4)


def test_the_onnx_model_is_what_other_languages_expect(exported):
    _, folder, input_type = exported
    model = onnx.load(folder / "model.onnx")
    assert [item.version for item in model.opset_import if item.domain == ""] == [17]
    session = onnxruntime.InferenceSession(
        folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    (given,) = session.get_inputs()
    assert given.name == "images"
    assert isinstance(given.shape[0], str)
    size = [*SIZE, 3] if input_type == "uint8" else [3, *SIZE]
    assert given.shape[1:] == size
    assert session.get_outputs()[0].name == "score"


@pytest.mark.parametrize("attempt", range(4))
def test_a_pad_never_keeps_its_uninitialised_value(tmp_path, attempt):
    detector = TinyDetector(pad=nn.ZeroPad2D([2, 1, 1, 2]))
    folder = export_detector(detector, card(), tmp_path / "inference", ["onnx"])
    pads = [node for node in onnx.load(folder / "model.onnx").graph.node if node.op_type == "Pad"]
    assert len(pads) == 1
    assert all(not any(node.input[2:]) for node in pads)
    pixels = pictures(2, seed=attempt)
    found = OnnxNetwork(folder / "model.onnx").run(PREPROCESS.normalize(pixels))
    np.testing.assert_allclose(found["score"], eager(detector, pixels)["score"], rtol=1e-4)


def test_a_pad_of_another_value_is_found_by_the_numbers(tmp_path):
    detector = TinyDetector(pad=nn.Pad2D([2, 1, 1, 2], value=3.0))
    with pytest.raises(ModelError, match=r"onnxruntime: .* differs"):
        export_detector(detector, card(), tmp_path / "inference", ["onnx"])
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_earlier_one(tmp_path, monkeypatch):
    folder = export_detector(TinyDetector(), card(), tmp_path / "inference")
    before = {file.name: sha256_of(file) for file in folder.iterdir()}
    monkeypatch.setattr(verify, "TOLERANCE", -1.0)
    with pytest.raises(ModelError, match="nothing was exported"):
        export_detector(TinyDetector(), card(), folder)
    assert {file.name: sha256_of(file) for file in folder.iterdir()} == before
    assert list(tmp_path.iterdir()) == [folder]


def test_an_export_replaces_the_earlier_one_as_a_whole(tmp_path):
    folder = export_detector(TinyDetector(), card(), tmp_path / "inference", ["paddle", "onnx"])
    export_detector(TinyDetector(), card(), folder, ["paddle"])
    assert not (folder / "model.onnx").exists()
    assert Predictor(folder).backend == "paddle"
    with pytest.raises(ModelError, match=r"without model\.onnx"):
        Predictor(folder, backend="onnx")


def test_other_peoples_files_are_not_replaced(tmp_path):
    (tmp_path / "thesis.docx").touch()
    with pytest.raises(ModelError, match="other files"):
        export_detector(TinyDetector(), card(), tmp_path)
    assert (tmp_path / "thesis.docx").exists()


def test_numbers_that_are_none_are_not_exported(tmp_path):
    detector = TinyDetector()
    detector.precision.set_value(paddle.full([6, 6], float("nan")))
    with pytest.raises(ModelError, match="no number"):
        export_detector(detector, card(), tmp_path / "inference")
    detector = TinyDetector()
    detector.threshold.set_value(paddle.full([], float("nan")))
    with pytest.raises(ModelError, match="calibrate"):
        export_detector(detector, card(), tmp_path / "inference")
    assert list(tmp_path.iterdir()) == []


def test_a_detector_in_training_is_exported_in_evaluation_and_given_back(tmp_path):
    detector = TinyDetector()
    expected = eager(detector, pictures())["score"]
    detector.train()
    folder = export_detector(detector, card(), tmp_path / "inference")
    assert detector.training
    found = Predictor(folder, backend="paddle").predict(list(pictures()))
    np.testing.assert_allclose([record.score for record in found], expected, rtol=1e-4)


LIMITED = """
import resource, sys
sys.path.insert(0, sys.argv[1])
import paddle
from test_export import TinyDetector, card, export_detector
from ppcls_sspcab.errors import OutputError
class Wide(TinyDetector):
    def __init__(self):
        super().__init__()
        self.wide = paddle.nn.Linear(6, 40_000)
    def forward(self, images):
        found = super().forward(images)
        beside = self.wide(found["embedding"]).sum(-1, keepdim=True)
        return {**found, "embedding": found["embedding"] + 0.0 * beside}
size = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
try:
    export_detector(Wide(), card(), sys.argv[2], ["paddle", "onnx"])
except OutputError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("size", [4_000, 500_000])  # cuts the program, cuts the weights
def test_files_that_cannot_be_written_whole_are_no_fault_of_the_model(tmp_path, size):
    """The kernel refuses to write more, as on a full disk, of which Paddle says nothing."""
    target = tmp_path / "inference"
    words = [sys.executable, "-c", LIMITED, str(Path(__file__).parent), str(target), str(size)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    reason = "cannot be written: the file is larger than its file system, or ulimit -f, allows"
    assert done.stdout == f"{target}: {reason}\n", done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_names_the_near_one(tmp_path):
    with pytest.raises(ConfigError, match="onnx"):
        export_detector(TinyDetector(), card(), tmp_path / "inference", ["onxx"])


def test_missing_packages_name_the_extra_and_nothing_is_installed(tmp_path, monkeypatch):
    real = importlib.import_module

    def absent(name, package=None):
        if name == "paddle2onnx":
            raise ImportError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(UserError, match=r"ppcls_sspcab\[onnx\]"):
        export_detector(TinyDetector(), card(), tmp_path / "inference", ["onnx"])
    assert list(tmp_path.iterdir()) == []


def test_no_process_is_started_by_the_conversion(tmp_path, monkeypatch):
    def forbid(event, _):
        if event in ("subprocess.Popen", "os.system", "os.posix_spawn"):
            started.append(event)

    started = []
    sys.addaudithook(forbid)
    export_detector(TinyDetector(), card(), tmp_path / "inference", ["onnx"])
    assert started == []


@pytest.mark.slow
@pytest.mark.parametrize("density", ["GaussianDensity", "KernelDensity"])
def test_the_real_detector(tmp_path, density):
    from ppcls_sspcab.registry import ARCHITECTURES, DENSITIES

    arch = {
        "name": "CutPasteNet",
        "Backbone": {"name": "resnet18"},
        "Block": {"name": "SSPCAB", "replace": "layer4.1.conv1"},
        "class_num": 3,
    }
    paddle.seed(0)
    network = ARCHITECTURES.build(arch, "Arch")
    network.eval()
    section = {"name": density}
    fitted = DENSITIES.build(section, "Density", embedding_size=network.backbone.num_features)
    detector = Detector(network, (32, 32), EmbeddingScore(lambda: fitted))
    detector.eval()
    preprocess = Preprocess(image_size=(32, 32))
    pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    with paddle.no_grad():
        embedding = network.embed(paddle.to_tensor(preprocess.normalize(pixels)))
    fitted.fit(embedding.numpy())
    detector.threshold.set_value(np.array(2.0, np.float32))
    folder = export_detector(
        detector, card(preprocess), tmp_path / "inference", ["paddle", "onnx"], "uint8"
    )
    parameters = sum(value.size for value in network.backbone.state_dict().values())
    assert (folder / "inference.pdiparams").stat().st_size < 4 * parameters * 1.2
    with paddle.no_grad():
        expected = detector(paddle.to_tensor(preprocess.normalize(pixels)))["score"].numpy()
    for backend in BACKENDS:
        found = Predictor(folder, backend=backend).predict(list(pixels), batch_size=3)
        np.testing.assert_allclose([record.score for record in found], expected, rtol=1e-3)
