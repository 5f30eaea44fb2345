import numpy as np
import paddle
import pytest

from ppcls_sspcab.cli.main import main
from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.data.datasets.mvtec import MVTecDataset
from ppcls_sspcab.detector.file import load_detector
from ppcls_sspcab.image.content import contents_of
from ppcls_sspcab.runtime.card import InferenceCard
from ppcls_sspcab.runtime.predictor import BACKENDS, Predictor


@pytest.fixture
def trained(tiny_yaml):
    text = tiny_yaml.read_text(encoding="utf-8").replace("epochs: 2", "epochs: 1")
    tiny_yaml.write_text(f"{text}\nLocalize: null\nScore: {{name: embedding}}\n", encoding="utf-8")
    assert main(["train", "-c", str(tiny_yaml)]) == 0
    return tiny_yaml


def other_good(demo_root):
    """Good pictures of another product, which the detector takes for bad ones."""
    return demo_root / MVTecDataset.categories(str(demo_root))[1] / "train" / "good"


def refitted(trained, good, *words):
    return main(["refit", "-c", str(trained), "--good", str(good), *words])


def test_density_and_threshold_are_new_and_the_weights_the_same(trained, demo_root):
    config = load_config(trained)
    export = ["export", "-c", str(trained), "--format", "paddle,onnx", "--input", "uint8"]
    assert main([*export, "--int8", "--max-drop", "100"]) == 0
    folder = config.folder.root / "inference"
    before, old = load_detector(config.folder.detector), InferenceCard.read(folder)
    good = other_good(demo_root)
    assert refitted(trained, good, "--only") == 0

    after = load_detector(config.folder.detector)
    card = after.card
    weights = before.network.state_dict()
    for name, value in after.network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), weights[name].numpy())
    new = InferenceCard.read(folder)
    assert set(new.files) == set(old.files) >= {"inference.json", "model.onnx", "model_int8.onnx"}
    assert new.input_type == "uint8"
    for exported in (old, new):
        float32, int8 = exported.detector["calibration"], exported.precisions["int8"]["calibration"]
        for key in ("method", "pictures", "target_fpr", "guaranteed", "note"):
            assert int8[key] == float32[key]
    assert new.threshold == pytest.approx(float(after.threshold))
    assert card.protocol["refitted_to"] == {"good": [str(good)], "old": 0, "new": 12}
    assert card.protocol["steps"] == 3
    # It remembers what trained the network, and apart from that what it is fitted to now.
    own = good.parents[2] / config.Global.category / "train" / "good"
    assert set(card.trained_on) < set(contents_of(sorted(map(str, own.iterdir()))))
    assert card.trained_on == before.card.trained_on and not before.card.fitted_to
    assert set(card.fitted_to) < set(contents_of(sorted(map(str, good.iterdir()))))

    paths = sorted(map(str, good.iterdir()))
    with paddle.no_grad():
        expected = after(paddle.to_tensor(card.preprocess(paths)))["score"].numpy()
        stranger = before(paddle.to_tensor(card.preprocess(paths)))["score"].numpy()
    for backend in BACKENDS:
        records = Predictor(folder, backend=backend).predict(paths)
        assert [record.score for record in records] == pytest.approx(expected, rel=1e-3)
    assert np.mean(expected > new.threshold) < np.mean(stranger > old.threshold)

    # The earlier detector and its export are whole in versions/, under one version.
    (kept,) = config.folder.versions.iterdir()
    assert kept.name.endswith(before.card.version) and before.card.version != card.version
    assert load_detector(kept / "detector.safetensors").card.version == before.card.version
    assert InferenceCard.read(kept / "inference").version == before.card.version
    assert new.version == card.version
    Predictor(kept / "inference").predict(paths[:1])


def test_old_good_pictures_stay_good(trained, demo_root, capsys):
    config = load_config(trained)
    good = other_good(demo_root)
    own = sorted((demo_root / config.Global.category / "train" / "good").iterdir())
    assert refitted(trained, good) == 0
    said = capsys.readouterr().err
    card = load_detector(config.folder.detector).card
    assert card.protocol["refitted_to"] == {"good": [str(good)], "old": 12, "new": 12}
    groups = card.protocol["refit_called_anomalies"]
    assert set(groups) >= {"old good pictures held out", "good test pictures", "bad test pictures"}
    assert "of 4 good test pictures are called anomalies: " in said
    assert set(card.trained_on) < set(contents_of(list(map(str, own))))
    # Again, with a single picture: those of the first refit are found, and kept.
    one = good.parents[2] / config.Global.category / "test" / "good"
    assert refitted(trained, sorted(one.iterdir())[0]) == 0
    found = load_detector(config.folder.detector).card.protocol["refitted_to"]
    assert (found["old"], found["new"], len(found["good"])) == (24, 1, 2)
    assert len(list(config.folder.versions.iterdir())) == 2


def test_it_does_not_forget_unasked(trained, demo_root, tmp_path, capsys):
    path = load_config(trained).folder.detector
    before = path.read_bytes()
    good = other_good(demo_root)
    moved = f"Global.data_root={tmp_path}/moved"
    assert refitted(trained, good, "-o", moved) == 2
    assert "none of them is found" in (error := capsys.readouterr().err) and "--only" in error
    few = tmp_path / "few.txt"
    few.write_text("\n".join(map(str, sorted(good.iterdir())[:9])))
    assert refitted(trained, few, "--only") == 2
    assert "fewer than 10 different pictures" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert refitted(trained, good, "--only", "-o", moved, "-o", "Global.overwrite=true") == 0
    assert not load_config(trained).folder.versions.exists()


def test_what_cannot_be_refitted_stays(trained, demo_root, capsys):
    path = load_config(trained).folder.detector
    before = path.read_bytes()
    good = other_good(demo_root)
    words = ["refit", "-c", str(trained), "--good", str(good)]
    for override, hint in (
        ("Preprocess.image_size=[64, 64]", "Preprocess"),
        ("Global.category=all", "one category"),
        (f"Global.pretrained_model={path.parent}/absent.safetensors", "no such file"),
    ):
        assert main([*words, "-o", override]) == 2
        assert hint in capsys.readouterr().err
    assert path.read_bytes() == before
    assert not (path.parent / "inference").exists()
