import dataclasses

import numpy as np
import onnx
import paddle
import pytest
import yaml
from paddle import nn
from sklearn.metrics import roc_auc_score

from ppcls_sspcab.data.samples import Sample
from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.data.synthetic import synthetic_validation
from ppcls_sspcab.detector.card import DetectorCard
from ppcls_sspcab.detector.threshold.calibration import Calibration
from ppcls_sspcab.detector.threshold.target_fpr import TargetFPR
from ppcls_sspcab.errors import ConfigError, ModelError, UserError
from ppcls_sspcab.exporting.export import export_detector
from ppcls_sspcab.exporting.quantize import Int8Settings, _loses_too_much, transferred
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.runtime.card import InferenceCard
from ppcls_sspcab.runtime.predictor import Predictor

SIZE = (32, 48)
PREPROCESS = Preprocess(image_size=SIZE)


class Network(nn.Layer):
    """A residual block with squeeze-and-excitation, and a branch that only the map reads."""

    def __init__(self):
        super().__init__()
        paddle.seed(0)
        self.stem = nn.Conv2D(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2D(8)
        self.body = nn.Conv2D(8, 8, 3, padding=1)
        self.squeeze, self.excite = nn.Conv2D(8, 4, 1), nn.Conv2D(4, 8, 1)
        self.last = nn.Conv2D(8, 6, 3)
        self.projection = nn.Conv2D(8, 2, 1)
        self.register_buffer("precision", paddle.randn([6, 6]))
        self.register_buffer("threshold", paddle.full([], 1.0))
        self.register_buffer("scale", paddle.full([], 0.1))
        self.eval()

    def forward(self, images):
        relu = nn.functional.relu
        first = relu(self.norm(self.stem(images)))
        gate = self.excite(relu(self.squeeze(first.mean(axis=[2, 3], keepdim=True))))
        second = relu(self.body(first) + first) * nn.functional.sigmoid(gate)
        embedding = self.last(second).mean(axis=[2, 3])
        anomaly_map = self.projection(second).abs().mean(1)
        score = (embedding @ self.precision).square().sum(-1).sqrt() + anomaly_map.mean([1, 2])
        return {
            "score": score,
            "normalized_score": score - self.threshold,
            "embedding": embedding,
            "map": anomaly_map,
        }


CARD = DetectorCard(arch={}, density={}, preprocess=PREPROCESS, category="part")


def pictures(count, seed):
    """A smooth part with a little noise."""
    rng = np.random.default_rng(seed)
    smooth = 120 + 60 * np.sin(np.arange(SIZE[1]) / 7)[None, None, :, None]
    noisy = smooth + rng.normal(0, 4, (count, *SIZE, 3)) + rng.normal(0, 8, (count, 1, 1, 3))
    return noisy.clip(0, 255).astype(np.uint8)


class Given(ImageStore):
    """Pixels as a store."""

    def __init__(self, pixels):
        samples = [Sample("", 0, "good", None, "train")] * len(pixels)
        super().__init__(samples, PREPROCESS, cache_bytes=0)
        self.pixels = pixels

    def __getitem__(self, index):
        return self.pixels[index]


SETTINGS = Int8Settings(pictures(10, 0), pictures(8, 1), max_drop=100.0)


@pytest.fixture(scope="module", params=["float32", "uint8"])
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("int8") / "inference"
    return export_detector(
        Network(), CARD, folder, ["paddle", "onnx"], request.param, int8=SETTINGS
    )


def test_the_trunk_is_quantised_and_what_decides_stays_in_float(exported):
    model = onnx.load(exported / "model_int8.onnx")
    producer = {name: node for node in model.graph.node for name in node.output}
    shapes = {item.name: list(item.dims) for item in model.graph.initializer}
    found = {"int8": [], "float": []}
    for node in model.graph.node:
        if node.op_type == "Conv":
            weight = producer.get(node.input[1])
            quantised = weight is not None and weight.op_type == "DequantizeLinear"
            shape = shapes[weight.input[0] if quantised else node.input[1]]
            found["int8" if quantised else "float"].append(shape)
            if quantised:
                assert shapes[weight.input[1]] == [shape[0]]  # a scale for each channel
    assert sorted(found["int8"]) == [[6, 8, 3, 3], [8, 3, 3, 3], [8, 8, 3, 3]]
    assert sorted(found["float"]) == [[2, 8, 1, 1], [4, 8, 1, 1], [8, 4, 1, 1]]
    (product,) = (node for node in model.graph.node if node.op_type == "MatMul")
    assert all(producer[name].op_type != "DequantizeLinear" for name in product.input[:1])


def test_int8_judges_nearly_as_float_does(exported):
    images, found = list(pictures(3, 5)), {}
    for precision in ("fp32", "int8"):
        predictor = Predictor(exported, backend="onnx", precision=precision)
        found[precision] = predictor.outputs(images)
        assert predictor.outputs(images[:1])["score"] == pytest.approx(
            found[precision]["score"][:1], rel=1e-4
        )
    assert set(found["int8"]) == {"score", "normalized_score", "embedding", "map"}
    assert (found["int8"]["score"] != found["fp32"]["score"]).any()
    np.testing.assert_allclose(found["int8"]["score"], found["fp32"]["score"], rtol=0.05)
    assert Predictor(exported, precision="int8").backend == "onnx"


def test_the_card_tells_what_int8_changes(exported):
    report = InferenceCard.read(exported).verification["int8"]
    images, labels, _, _ = synthetic_validation(SETTINGS.held_out, SETTINGS.seed)
    for precision in ("fp32", "int8"):
        records = Predictor(exported, backend="onnx", precision=precision).predict(list(images))
        scores = np.array([record.score for record in records])
        assert report[precision]["synthetic_auroc"] == pytest.approx(roc_auc_score(labels, scores))
        alarms = np.mean([record.is_anomaly for record in records[:8]])
        assert report[precision]["false_alarm_rate"] == pytest.approx(alarms)
    assert report["pictures"] == {"ranges": 10, "held_out": 8}


def test_a_loss_beyond_the_limit_leaves_the_float_export(tmp_path, caplog):
    settings = dataclasses.replace(SETTINGS, max_drop=-101.0)
    folder = export_detector(Network(), CARD, tmp_path / "inference", ["onnx"], int8=settings)
    card = InferenceCard.read(folder)
    assert "beyond --max-drop -101" in card.verification["int8"]["refused"]
    assert card.verification["int8"]["refused"] in caplog.text
    assert not card.precisions and set(card.files) == {path.name for path in folder.iterdir()} - {
        "inference.yml"
    }
    assert Predictor(folder, backend="onnx").predict(list(pictures(1, 2)))
    with pytest.raises(ModelError, match=r"without model_int8\.onnx: .*beyond --max-drop -101"):
        Predictor(folder, precision="int8")


def test_more_false_alarms_than_one_picture_are_a_loss():
    def loses(alarms):
        figures = {"synthetic_auroc": 1.0, "false_alarm_rate": alarms / 50}
        good = {"synthetic_auroc": 1.0, "false_alarm_rate": 0.0}
        pictures = {"held_out": 50}
        return _loses_too_much(
            {"pictures": pictures, "max_drop": 0.5, "fp32": good, "int8": figures}
        )

    assert not loses(1)
    assert loses(2)


def test_each_precision_has_the_threshold_of_its_own_scores(tmp_path):
    """The conformal threshold of 39 pictures at 0.25 is the 30th smallest of their scores."""
    own = pictures(39, 7)
    method = TargetFPR(0.25)
    settings = dataclasses.replace(
        SETTINGS, calibrate=lambda score: method.calibrate(score(Given(own)))
    )
    folder = tmp_path / "inference"
    export_detector(Network(), CARD, folder, ["onnx"], int8=settings)
    predictors = {
        name: Predictor(folder, backend="onnx", precision=name) for name in ("fp32", "int8")
    }
    assert predictors["fp32"].threshold == pytest.approx(1.0)
    records = predictors["int8"].predict(list(own))
    scores = sorted(record.score for record in records)
    assert predictors["int8"].threshold == pytest.approx(scores[29], rel=1e-6)
    assert sum(record.is_anomaly for record in records) == 9
    card = InferenceCard.read(folder)
    assert card.precisions["int8"]["calibration"]["pictures"] == 39
    assert card.calibrated_since == []


def test_what_calibrate_sets_of_one_precision_stays_and_leaves_the_other_alone(tmp_path, caplog):
    card, folder = dataclasses.replace(CARD, version="first"), tmp_path / "inference"

    def export(card):
        return InferenceCard.read(export_detector(Network(), card, folder, ["onnx"], int8=SETTINGS))

    first = export(card)
    changed = first.calibrated("int8", {"note": "new"}, 2.0, 0.5)
    assert changed.judging("int8") == {"threshold": 2.0, "scale": 0.5}
    assert changed.judging("fp32") == first.judging("fp32")
    assert (first.calibrated_since, changed.calibrated_since) == ([], ["int8"])
    changed.write(folder)
    again = export(card)
    assert again.precisions == changed.precisions
    assert Predictor(folder, precision="int8").threshold == 2.0
    assert export(dataclasses.replace(card, version="second")).calibrated_since == []
    assert "(int8), which 'calibrate' has set, was for another detector" in caplog.text


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (5, "precisions.int8 must be a mapping"),
        ({"scale": 1.0}, "precisions.int8.threshold must be a number"),
        ({"threshold": float("nan"), "scale": 1.0}, "precisions.int8.threshold must be a finite"),
        ({"threshold": 1.0, "scale": -1.0}, "precisions.int8.scale must be above 0"),
    ],
)
def test_a_damaged_precision_is_refused_by_name(exported, tmp_path, entry, reason):
    content = yaml.safe_load((exported / "inference.yml").read_text())
    content["precisions"] = {"int8": entry}
    (tmp_path / "inference.yml").write_text(yaml.safe_dump(content))
    with pytest.raises(ModelError, match=reason):
        InferenceCard.read(tmp_path)


def test_a_threshold_is_transferred_by_least_squares():
    """Against the closed form of a line through two points."""
    found = transferred(Calibration(3.0, 0.5), np.array([1.0, 2.0]), np.array([10.0, 14.0]))
    assert found.threshold == pytest.approx(18.0)
    assert found.scale == pytest.approx(2.0)


def test_a_network_without_convolutions_says_so(tmp_path):
    class Flat(nn.Layer):
        def __init__(self):
            super().__init__()
            self.register_buffer("threshold", paddle.full([], 1.0))
            self.register_buffer("scale", paddle.full([], 1.0))

        def forward(self, images):
            embedding = images.mean(axis=[2, 3])
            score = embedding.square().sum(-1)
            normalized = score - self.threshold
            return {"score": score, "normalized_score": normalized, "embedding": embedding}

    with pytest.raises(ModelError, match="no convolution"):
        export_detector(Flat(), CARD, tmp_path / "inference", ["onnx"], int8=SETTINGS)
    assert list(tmp_path.iterdir()) == []


def test_int8_is_for_onnx_runtime(tmp_path, exported):
    with pytest.raises(ConfigError, match="add onnx"):
        export_detector(Network(), CARD, tmp_path / "inference", ["paddle"], int8=SETTINGS)
    with pytest.raises(UserError, match="'onnx' only"):
        Predictor(exported, backend="paddle", precision="int8")
    folder = export_detector(Network(), CARD, tmp_path / "inference", ["onnx"])
    with pytest.raises(ModelError, match=r"without model_int8\.onnx"):
        Predictor(folder, precision="int8")
