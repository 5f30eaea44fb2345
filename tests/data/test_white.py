"""Pictures of more than 8 bits: the same detector as of 8 bits, whatever the camera fills."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppcls_sspcab.cli.main import main
from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.data.samples import Sample
from ppcls_sspcab.data.white import settled
from ppcls_sspcab.detector.file import load_detector
from ppcls_sspcab.engine.engine import Engine
from ppcls_sspcab.engine.refit import refit
from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.image.decode import ImageError, decode
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.runtime.predictor import Predictor
from ppcls_sspcab.utils.weights import read_weights

GREY = np.random.default_rng(5).integers(0, 256, (40, 30)).astype(np.uint16)
GREY[0, 0] = 255


def saved(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def samples(folder: Path, *pictures: np.ndarray) -> list[Sample]:
    return [
        Sample(str(saved(folder / f"{number}.png", pixels)), 0, "good", None, "train")
        for number, pixels in enumerate(pictures)
    ]


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_picture_is_the_same_in_any_number_of_bits(
    tmp_path: Path, bits: int, suffix: str
) -> None:
    white = 2**bits - 1
    path = saved(tmp_path / f"a.{suffix}", np.rint(GREY * (white / 255)).astype(np.uint16))
    np.testing.assert_array_equal(decode(path, white)[..., 1], GREY)
    darker = decode(path, white * 2 if bits < 16 else white)
    assert abs(darker[..., 0] - GREY / (2 if bits < 16 else 1)).max() <= 0.5
    assert (decode(path, 1)[..., 0] == np.where(GREY > 0, 255, 0)).all()
    with pytest.raises(ImageError, match=r"a\..*more than 8 bits.*Preprocess\.white"):
        Preprocess((8, 8)).load(path)


@pytest.mark.parametrize(
    ("largest", "white"),
    [(227, 255), (256, 1023), (1000, 1023), (3696, 4095), (9000, 16383), (16384, "full")],
)
def test_the_white_level_is_that_of_the_fewest_bits(
    tmp_path: Path, largest: int, white: object
) -> None:
    dark, bright = GREY // 4, np.rint(GREY * (largest / 255)).astype(np.uint16)
    bright[:2] = largest
    hot = dark.copy()
    hot[3, 3] = 65535  # one broken pixel of 1,200
    good = samples(tmp_path, dark, bright, hot, GREY.astype(np.uint8))
    assert settled(Preprocess((8, 8)), good).white == white
    assert settled(Preprocess((8, 8), white=700), good).white == 700


def test_without_such_pictures_it_stays_open(tmp_path: Path) -> None:
    good = samples(tmp_path, GREY.astype(np.uint8), GREY.astype(np.uint8))
    (tmp_path / "0.png").write_bytes(b"no picture")
    assert settled(Preprocess((8, 8)), good).white == "auto"


@pytest.mark.parametrize("white", [0, 65536, -1, True, 12.5, "Auto", None])
def test_a_wrong_white_level_is_refused(white: object) -> None:
    with pytest.raises(ConfigError, match=r"white: must be auto, full or a whole number"):
        Preprocess(white=white)  # type: ignore[arg-type]


def test_it_travels_with_the_contract() -> None:
    for white in ("auto", "full", 4095):
        contract = Preprocess(white=white)  # type: ignore[arg-type]
        assert Preprocess.from_dict(contract.to_dict()) == contract


def test_training_scoring_refitting_and_deployment_see_one_picture(
    tiny_yaml: Path, demo_root: Path, tmp_path: Path
) -> None:
    """Grey pictures of 8 bits, and the same in files of 16: equal detectors and scores."""
    category = load_config(tiny_yaml).Global.category
    found: dict[str, tuple[dict[str, np.ndarray], list[float], list[float], list[float]]] = {}
    for name in ("eight", "sixteen"):
        data, output = tmp_path / name, tmp_path / f"output_{name}"
        for path in (demo_root / category).rglob("*.png"):
            with Image.open(path) as read:
                pixels = np.asarray(read.convert("L"))
            if name == "sixteen" and "ground_truth" not in path.parts:
                pixels = pixels.astype(np.uint16)
            saved(data / path.relative_to(demo_root), pixels)
        keys = [f"Global.data_root={data}", f"Global.output_dir={output}"]
        keys += ["Global.eval_during_train=true", "Threshold.calibrate_on=k_fold"]
        config = load_config(tiny_yaml, keys)
        Engine(config, "train").train()
        weights = read_weights(config.folder.detector)
        bad = sorted((data / category / "test").rglob("*.png"))
        model = Engine(config, "export").export(["paddle", "onnx"])[0]
        scores = [
            [record.score for record in found.predict([str(path) for path in bad], maps=False)]
            for found in (load_detector(config.folder.detector), Predictor(model, "onnx"))
        ]
        white = 255 if name == "sixteen" else "auto"
        assert Predictor(model, "onnx").card.preprocess.white == white
        refit(config, str(data / category / "train" / "good"))
        refitted = load_detector(config.folder.detector)
        assert refitted.card.preprocess.white == white
        found[name] = weights, *scores, [float(refitted.threshold)]
    left, right = found["eight"], found["sixteen"]
    assert left[0].keys() == right[0].keys()
    for key, value in left[0].items():
        np.testing.assert_array_equal(value, right[0][key], err_msg=key)
    assert left[1:] == right[1:]


def test_data_check_says_what_is_white_and_what_shows_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(5):
        saved(tmp_path / f"part/good/{number}.png", GREY * 16)
    saved(tmp_path / "part/good/7.png", np.full((40, 30), 900, np.uint16))
    assert main(["data", "check", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "note: pictures of more than 8 bits: 4095 becomes white" in said
    assert "note: 1 x pictures that show nothing" in said
    assert f"{tmp_path}/part/good/7.png" in said


def test_the_start_of_a_training_names_pictures_that_show_nothing(
    tiny_yaml: Path, tmp_path: Path
) -> None:
    for number in range(6):
        picture = np.roll(GREY, number, 0).astype(np.uint8)
        saved(tmp_path / f"data/part/train/good/{number}.png", picture)
    flat = saved(tmp_path / "data/part/train/good/9.png", np.full((40, 30), 3, np.uint8))
    keys = [f"Global.data_root={tmp_path}/data", "Global.category=part", "Global.epochs=0"]
    config = load_config(tiny_yaml, [*keys, "Localize=null"])
    Engine(config, "train").train()
    log = (config.folder.root / "train.log").read_text(encoding="utf-8")
    assert (
        "1 of " in log
        and f"pictures show nothing: their values differ by less than 8 of 255 (the first: {flat})"
        in log
    )
