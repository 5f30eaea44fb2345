import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn
from PIL import Image

from ppcls_sspcab.cli import main as cli
from ppcls_sspcab.data.postprocess.anomaly_decision import AnomalyDecision
from ppcls_sspcab.detector.card import DetectorCard
from ppcls_sspcab.errors import ModelError, UserError
from ppcls_sspcab.exporting.export import export_detector
from ppcls_sspcab.image.decode import decode
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.result import Failure, Result
from ppcls_sspcab.runtime import command
from ppcls_sspcab.runtime.card import InferenceCard
from ppcls_sspcab.runtime.predictor import BACKENDS, Predictor

PREPROCESS = Preprocess(image_size=(16, 24))


class MeanBrightness(nn.Layer):
    """Scores a picture by its mean brightness: what it must be is known without any network."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", paddle.to_tensor(PREPROCESS.mean).reshape([1, 3, 1, 1]))
        self.register_buffer("std", paddle.to_tensor(PREPROCESS.std).reshape([1, 3, 1, 1]))
        self.register_buffer("threshold", paddle.full([], 0.5))
        self.register_buffer("scale", paddle.full([], 0.1))

    def forward(self, images):
        score = (images * self.std + self.mean).mean(axis=[1, 2, 3])
        deviation = (score - self.threshold) / self.scale
        normalized_score = 0.5 + 0.5 * deviation / (1.0 + deviation.abs())
        return {"score": score, "normalized_score": normalized_score}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "inference"
    card = DetectorCard(arch={}, density={}, preprocess=PREPROCESS, category="lamp")
    return export_detector(MeanBrightness(), card, folder, ["paddle", "onnx"])


@pytest.fixture(scope="module", params=BACKENDS)
def predictor(request, model):
    return Predictor(model, backend=request.param, threads=1)


def grey(value, size=(24, 16), mode="RGB"):
    return Image.new(mode, size, {"L": value, "RGB": (value,) * 3, "RGBA": (value,) * 4}[mode])


def encoded(image, kind="PNG"):
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def test_paths_bytes_and_pixels_give_the_same_score(predictor, tmp_path):
    path = tmp_path / "dark.png"
    grey(51).save(path)
    records = predictor.predict([str(path), path, path.read_bytes(), decode(path)])
    assert [record.score for record in records] == pytest.approx([0.2] * 4, abs=1e-5)
    assert [record.path for record in records] == [str(path), str(path), "<bytes>", "<array>"]
    assert not any(record.is_anomaly for record in records)


@pytest.mark.parametrize(("mode", "kind"), [("L", "PNG"), ("RGBA", "PNG"), ("L", "JPEG")])
@pytest.mark.parametrize("size", [(24, 16), (7, 300), (1, 1)])
def test_any_mode_and_size(predictor, mode, kind, size):
    (record,) = predictor.predict([encoded(grey(204, size, mode), kind)])
    assert record.score == pytest.approx(0.8, abs=2e-3)
    deviation = (record.score - 0.5) / 0.1
    assert record.normalized_score == pytest.approx(0.5 + 0.5 * deviation / (1 + deviation))
    assert record.is_anomaly


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_an_unreadable_picture_is_one_record_and_the_rest_goes_on(predictor, tmp_path, batch_size):
    broken = tmp_path / "broken.png"
    broken.write_bytes(encoded(grey(1))[:40])
    values = [0, 51, 102, 153, 204]
    images = [encoded(grey(value)) for value in values]
    records = predictor.predict(
        [images[0], broken, *images[1:4], tmp_path / "absent.png", images[4]], batch_size
    )
    assert [type(record) for record in records] == [
        Result, Failure, Result, Result, Result, Failure, Result
    ]  # fmt: skip
    found = [record.score for record in records if isinstance(record, Result)]
    assert found == pytest.approx([value / 255 for value in values], abs=1e-5)
    assert records[1].path == str(broken)
    assert "does not exist" in records[5].error


def test_nothing_and_nonsense(predictor):
    assert predictor.predict([]) == []
    with pytest.raises(ValueError, match="batch_size"):
        predictor.predict([encoded(grey(1))], batch_size=0)


def test_one_predictor_serves_several_threads(predictor):
    values = list(range(0, 250, 5))
    images = [encoded(grey(value)) for value in values]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda image: predictor.predict([image])[0].score, images))
    assert found == pytest.approx([value / 255 for value in values], abs=1e-5)


def test_a_single_picture_is_a_list_of_one(predictor, tmp_path):
    path = tmp_path / "dark.png"
    grey(51, (128, 128)).save(path)
    pixels = decode(path)
    for one in (str(path), path, path.read_bytes(), pixels, pixels[:, :, 0], path.open("rb")):
        (record,) = predictor.predict(one)
        assert record.score == pytest.approx(0.2, abs=1e-5)
        assert record.map is None
    assert predictor.outputs(pixels)["score"].shape == (1,)
    assert len(list(predictor.stream(path))) == 1
    assert len(predictor.predict(np.stack([pixels] * 3))) == 3


def test_a_result_has_the_map_of_the_graph(tmp_path):
    class Detector(MeanBrightness):
        def forward(self, images):
            found = super().forward(images)
            return {**found, "map": (images * self.std + self.mean).mean(axis=1)}

    card = DetectorCard(arch={}, density={}, preprocess=PREPROCESS, category="lamp")
    folder = export_detector(Detector(), card, tmp_path / "inference", ["paddle", "onnx"])
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 24, 3), np.uint8)
    for backend in BACKENDS:
        predictor = Predictor(folder, backend=backend, threads=1)
        records = predictor.predict(pixels)
        for record, picture in zip(records, pixels, strict=True):
            assert (record.map.dtype, record.map.shape) == (np.float32, (16, 24))
            np.testing.assert_allclose(record.map, picture.mean(axis=2) / 255, atol=1e-5)
        assert predictor.predict(pixels, maps=False) == records
        assert predictor.predict(pixels, maps=False)[0].map is None


def test_another_threshold_decides_and_normalises(model):
    strict = Predictor(model, backend="onnx", threshold=0.1)
    (record,) = strict.predict([encoded(grey(51))])
    assert (record.threshold, record.is_anomaly) == (0.1, True)
    assert record.normalized_score == pytest.approx(0.75, abs=1e-5)


def test_a_rewritten_threshold_needs_no_new_export(model, tmp_path):
    copy = copied(model, tmp_path)
    replace(InferenceCard.read(copy), threshold=0.1).write(copy)
    assert Predictor(copy, backend="onnx").predict([encoded(grey(51))])[0].is_anomaly


def copied(model, folder):
    for file in model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.mark.parametrize(
    ("backend", "name"),
    [("paddle", "inference.pdiparams"), ("onnx", "model.onnx"), ("openvino", "model.onnx")],
)
def test_a_changed_or_missing_file_is_refused(model, tmp_path, backend, name):
    copy = copied(model, tmp_path)
    content = bytearray((copy / name).read_bytes())
    content[-1] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"{name}: is not the file"):
        Predictor(copy, backend=backend)
    (copy / name).unlink()
    with pytest.raises(ModelError, match=f"{name}: missing"):
        Predictor(copy, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_model_that_is_exchanged_after_the_check_is_not_what_runs(
    model, tmp_path, monkeypatch, backend
):
    """Each file is read once: as soon as it was read, another lies in its place."""
    copy, read = copied(model, tmp_path), Path.read_bytes

    def exchanged(path):
        content = read(path)
        if path.parent == copy:
            path.write_bytes(b"another model")
        return content

    monkeypatch.setattr(Path, "read_bytes", exchanged)
    predictor = Predictor(copy, backend=backend)
    assert predictor.predict([encoded(grey(51))])[0].score == pytest.approx(0.2, abs=1e-5)
    exchanged_file = "inference.json" if backend == "paddle" else "model.onnx"
    assert read(copy / exchanged_file) == b"another model"


@pytest.mark.parametrize(
    "text", ["", "[1, 2", "format: 9", "format: 1\nthreshold: 1", "- a", "\x00"]
)
def test_a_damaged_card_is_refused(tmp_path, text):
    with pytest.raises(ModelError, match=r"no inference\.yml"):
        Predictor(tmp_path)
    (tmp_path / "inference.yml").write_text(text)
    with pytest.raises(ModelError, match=r"inference\.yml"):
        Predictor(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"), [("threshold", "nan"), ("scale", "0"), ("outputs", "[embedding]")]
)
def test_a_card_that_cannot_judge_is_refused(model, tmp_path, key, value):
    copy = copied(model, tmp_path)
    card = copy / "inference.yml"
    lines = card.read_text().splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(f"{key}:"))
    end = next(i for i in range(start + 1, len(lines)) if not lines[i].startswith("-"))
    lines[start:end] = [f"{key}: {value}"]
    card.write_text("\n".join(lines))
    with pytest.raises(ModelError, match=key):
        Predictor(copy)


@pytest.mark.parametrize("onednn", [True, False])
def test_onednn_is_as_asked_for(model, monkeypatch, tmp_path, onednn):
    import paddle.inference

    picture = tmp_path / "grey.png"
    picture.write_bytes(encoded(grey(80)))
    chosen = []
    create = paddle.inference.create_predictor
    monkeypatch.setattr(
        paddle.inference,
        "create_predictor",
        lambda config: chosen.append(config.mkldnn_enabled()) or create(config),
    )
    words = ["--model", str(model), "--onednn", str(onednn), str(picture)]
    assert command.main([*words, "--output", str(tmp_path / "records.jsonl")], "paddle") == 0
    assert chosen == [onednn]


def test_devices_and_precisions_that_are_not_there(model):
    for backend in ("onnx", "openvino"):
        with pytest.raises(UserError, match=f"'{backend}' runs on the CPU only"):
            Predictor(model, backend=backend, device="gpu")
    for backend in ("paddle", "openvino"):
        with pytest.raises(UserError, match="int8 is for the backend 'onnx' only"):
            Predictor(model, backend=backend, precision="int8")
    with pytest.raises(UserError, match="device must be"):
        Predictor(model, backend="paddle", device="tpu")


def test_the_embedding_is_not_overwritten_by_the_score(tmp_path):
    """Paddle 3.3.1's inplace pass does so with oneDNN, hence the predictor leaves it out."""

    class Detector(MeanBrightness):
        def forward(self, images):
            embedding = (images * self.std).mean(axis=[2, 3])
            score = embedding.square().sum(-1).sqrt()
            return {"score": score, "normalized_score": 2 * score, "embedding": embedding}

    card = DetectorCard(arch={}, density={}, preprocess=PREPROCESS, category="lamp")
    folder = export_detector(Detector(), card, tmp_path / "inference")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 24, 3), np.uint8)
    found = Predictor(folder, backend="paddle").outputs(list(pixels))
    expected = (pixels / 255 - PREPROCESS.mean).mean(axis=(1, 2))
    np.testing.assert_allclose(found["embedding"], expected, atol=1e-5)
    np.testing.assert_allclose(found["score"], np.linalg.norm(expected, axis=1), rtol=1e-4)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ([51, 102], 0),
        ([51, 204], 3),
        ([51, None], 4),
        ([None, None, None], 4),
        ([None, 204], 3),
    ],
)
def test_only_exit_code_0_says_that_every_part_is_good(model, tmp_path, capsys, values, code):
    paths = [tmp_path / f"{index}.png" for index in range(len(values))]
    for path, value in zip(paths, values, strict=True):
        path.write_bytes(b"no picture" if value is None else encoded(grey(value)))
    words = ["--model", str(model), "--backend", "onnx", *map(str, paths)]
    assert command.main([*words, "--fail-on-anomaly"]) == code
    assert command.main(words) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 * len(values)


def test_a_score_that_is_no_number_is_not_judged(model, tmp_path, monkeypatch, capsys):
    path = tmp_path / "a.png"
    grey(51).save(path)
    nothing = {"score": np.full(1, np.nan, np.float32)}
    monkeypatch.setattr("ppcls_sspcab.runtime.networks.OnnxNetwork.run", lambda *_: nothing)
    words = ["--model", str(model), "--backend", "onnx", str(path), "--fail-on-anomaly"]
    assert command.main(words) == 4
    assert "not a number" in capsys.readouterr().out


@pytest.mark.parametrize("program", ["deploy", "predict"])
@pytest.mark.parametrize("threshold", ["nan", "inf", "-inf", "1e999", "1e39", "half"])
def test_a_threshold_that_decides_nothing_is_refused(model, program, threshold, capsys):
    words = [f"--threshold={threshold}", "picture.png"]
    with pytest.raises(SystemExit) as ended:
        if program == "deploy":
            command.main(["--model", str(model), *words])
        else:
            cli.main(["predict", "-c", "any.yaml", *words])
    assert ended.value.code == 2
    assert f"--threshold: must be a finite number, not '{threshold}'" in capsys.readouterr().err
    if threshold != "half":
        with pytest.raises(ValueError, match="finite"):
            Predictor(model, threshold=float(threshold))
        with pytest.raises(ValueError, match="finite"):
            AnomalyDecision(float(threshold), 1.0)


def test_the_largest_threshold_still_gives_a_record(model):
    (record,) = Predictor(model, backend="onnx", threshold=3.4e38).predict([encoded(grey(204))])
    assert not record.is_anomaly
    assert record.normalized_score == pytest.approx(0)


def test_a_reader_that_leaves_before_all_are_judged(model, tmp_path):
    """``| head -1`` ends the program early: no exit code may then say that all are good."""
    for index in range(3):
        grey(51).save(tmp_path / f"{index}.png")
    code = (
        "import sys; from ppcls_sspcab.runtime.command import main; "
        f"sys.exit(main(['--model', {str(model)!r}, '--backend', 'onnx', {str(tmp_path)!r}, "
        "*sys.argv[1:]]))"
    )
    for words, expected in ((["--fail-on-anomaly"], 4), ([], 0)):
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
        )
        os.close(writing)
        assert (done.returncode, done.stderr) == (expected, b"")


def test_a_model_without_maps_says_so(model, tmp_path, capsys):
    grey(51).save(tmp_path / "a.png")
    words = ["--model", str(model), "--backend", "onnx", str(tmp_path / "a.png")]
    assert command.main([*words, "--save-maps", str(tmp_path / "maps")]) == 2
    assert "makes no maps" in capsys.readouterr().err
