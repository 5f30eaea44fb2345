import pathlib
import subprocess
import sys

import numpy as np
import paddle
import pytest
from paddle import nn
from PIL import Image

from ppcls_sspcab.cli.main import main
from ppcls_sspcab.detector.card import DetectorCard
from ppcls_sspcab.errors import ConfigError, DataError, ModelError
from ppcls_sspcab.exporting.export import export_detector
from ppcls_sspcab.image.content import contents_of
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.runtime.calibrate import calibrate
from ppcls_sspcab.runtime.card import InferenceCard
from ppcls_sspcab.runtime.predictor import BACKENDS, Predictor
from ppcls_sspcab.utils.files import sha256_of

PREPROCESS = Preprocess(image_size=(8, 8), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


class Brightness(nn.Layer):
    """The score of a grey picture is its value, 0..1."""

    def __init__(self):
        super().__init__()
        self.register_buffer("threshold", paddle.full([], 0.9))
        self.register_buffer("scale", paddle.full([], 0.1))

    def forward(self, images):
        score = images.mean(axis=[1, 2, 3])
        deviation = (score - self.threshold) / self.scale
        return {
            "score": score,
            "normalized_score": 0.5 + 0.5 * deviation / (1.0 + deviation.abs()),
        }


@pytest.fixture
def model(tmp_path):
    card = DetectorCard(arch={}, density={}, preprocess=PREPROCESS, category="lamp")
    return export_detector(Brightness(), card, tmp_path / "inference", ["paddle", "onnx"])


@pytest.fixture
def good(tmp_path):
    """39 pictures of brightness 2, 4, ... 78 of 255, in no order."""
    (tmp_path / "good").mkdir()
    for index in np.random.default_rng(0).permutation(39):
        grey = Image.new("L", (10, 7), int(2 * (index + 1)))
        grey.save(tmp_path / "good" / f"{(index * 7) % 39}.png")
    return tmp_path / "good"


def pixels(value):
    return np.full((8, 8, 3), value, np.uint8)


@pytest.mark.parametrize(("rate", "value"), [("0.05", 76), ("0.25", 60)])
def test_the_threshold_is_the_conformal_quantile(model, good, rate, value):
    before = {path.name: sha256_of(path) for path in model.iterdir()}
    words = ["calibrate", "--model", str(model), "--good", str(good), "--target-fpr", rate]
    assert main(words) == 0
    card = InferenceCard.read(model)
    # ceil(40 * 0.95) = 38th and ceil(40 * 0.75) = 30th smallest of the values 2, 4, ...
    assert card.threshold == pytest.approx(value / 255, abs=1e-6)
    assert card.detector["calibration"]["pictures"] == 39
    assert card.detector["calibration"]["guaranteed"]
    after = {path.name: sha256_of(path) for path in model.iterdir()}
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == {"inference.yml"}


def test_nothing_that_callers_read_contradicts_it(model, good):
    calibrate(model, str(good), 0.05)
    card = InferenceCard.read(model)
    assert card.in_graph == {"threshold": pytest.approx(0.9), "scale": pytest.approx(0.1)}
    for backend in BACKENDS:
        predictor = Predictor(model, backend=backend)
        images = [pixels(value) for value in (10, 76, 78, 200)]
        records = predictor.predict(images)
        assert [record.is_anomaly for record in records[::3]] == [False, True]
        assert records[2].is_anomaly
        found = predictor.outputs(images)["normalized_score"]
        assert found == pytest.approx([record.normalized_score for record in records], abs=1e-5)
        strict = Predictor(model, backend=backend, threshold=0.01)
        assert (strict.outputs(images)["normalized_score"] > 0.5).all()


def test_a_second_calibration_starts_from_the_same_graph(model, good):
    calibrate(model, str(good), 0.25)
    calibrate(model, str(good), 0.05)
    assert InferenceCard.read(model).threshold == pytest.approx(76 / 255, abs=1e-6)
    assert InferenceCard.read(model).in_graph["threshold"] == pytest.approx(0.9)


def test_a_mistake_changes_nothing(model, good, capsys):
    before = (model / "inference.yml").read_bytes()
    with pytest.raises(ConfigError, match="--target-fpr"):
        calibrate(model, str(good), 1.5)
    with pytest.raises(DataError, match="no such file"):
        calibrate(model, str(good / "absent"))
    (good / "broken.png").write_bytes(b"no picture")
    words = ["calibrate", "--model", str(model), "--good", str(good)]
    assert main(words) == 2
    assert "broken.png" in capsys.readouterr().err
    with pytest.raises(ModelError, match=r"without model_int8\.onnx"):
        calibrate(model, str(good), precision="int8")
    assert (model / "inference.yml").read_bytes() == before


def exported(folder, **known):
    card = DetectorCard(arch={}, density={}, preprocess=PREPROCESS, category="lamp", **known)
    return export_detector(Brightness(), card, folder, ["paddle", "onnx"])


@pytest.mark.parametrize("kind", ["trained_on", "fitted_to"])
def test_pictures_that_the_model_knows_calibrate_nothing(tmp_path, good, kind, capsys):
    paths = sorted(map(str, good.iterdir()))
    model = exported(tmp_path / "known", **{kind: contents_of(paths)})
    before = (model / "inference.yml").read_bytes()
    assert main(["calibrate", "--model", str(model), "--good", str(good)]) == 2
    assert "39 of 39 pictures are among those" in capsys.readouterr().err
    assert (model / "inference.yml").read_bytes() == before

    # Renamed they are the same; those that are new are taken.
    for number, path in enumerate(paths):
        (good / f"renamed {number}.png").write_bytes(pathlib.Path(path).read_bytes())
        pathlib.Path(path).unlink()
    for value in range(100, 120):
        Image.new("L", (10, 7), value).save(good / f"new {value}.png")
    calibration = calibrate(model, str(good))
    assert (calibration.pictures, calibration.guaranteed) == (20, True)
    assert calibration.threshold == pytest.approx(119 / 255, abs=1e-6)
    assert "39 of 59 pictures are among those" in capsys.readouterr().err


def test_copies_of_few_pictures_promise_nothing(model, tmp_path, capsys):
    (tmp_path / "copies").mkdir()
    for number in range(40):
        grey = Image.new("L", (10, 7), 50 + number % 2)
        grey.save(tmp_path / "copies" / f"{number}.png")
    calibration = calibrate(model, str(tmp_path / "copies"))
    assert (calibration.pictures, calibration.guaranteed) == (2, False)
    said = capsys.readouterr().err
    assert "38 of 40 pictures are copies" in said
    assert "up to 0.68 of new good pictures" in said


def test_one_picture_is_no_calibration(model, good, capsys):
    one = sorted(good.iterdir())[0]
    assert main(["calibrate", "--model", str(model), "--good", str(one)]) == 2
    assert "at least 2 good pictures" in capsys.readouterr().err


def test_a_bad_picture_among_the_good_is_named(model, good, capsys):
    Image.new("L", (10, 7), 250).save(good / "scratched.png")
    calibration = calibrate(model, str(good), 0.01)
    assert "scratched.png" in capsys.readouterr().err
    assert InferenceCard.read(model).detector["calibration"]["plausible_fpr"] == pytest.approx(
        calibration.plausible_fpr
    )


def test_it_needs_no_paddle(model, good):
    program = (
        "import sys; sys.modules.update(paddle=None, sklearn=None, paddleclas=None); "
        "from ppcls_sspcab.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    words = ["calibrate", "--model", str(model), "--good", str(good), "--target-fpr", "0.25"]
    subprocess.run([sys.executable, "-c", program, *words], check=True, timeout=60)
    assert InferenceCard.read(model).threshold == pytest.approx(60 / 255, abs=1e-6)
