"""``predict --save-maps``."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppcls_sspcab.cli.main import main
from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.detector.file import load_detector
from ppcls_sspcab.detector.run import detect
from ppcls_sspcab.engine.engine import Engine
from ppcls_sspcab.errors import UserError
from ppcls_sspcab.image.maps import MapWriter
from ppcls_sspcab.runtime import command


def test_every_picture_gets_three_files(tiny_yaml: Path, demo_root: Path, tmp_path: Path) -> None:
    config = load_config(tiny_yaml, ["Global.epochs=1"])
    Engine(config, "train").train()
    test = demo_root / config.Global.category / "test"
    folder = tmp_path / "maps"
    arguments = ["predict", "-c", str(tiny_yaml), str(test), "--save-maps", str(folder)]
    assert main([*arguments, "--output", str(tmp_path / "records.jsonl")]) == 0
    pictures = sorted(path.relative_to(test) for path in test.rglob("*.png"))
    written = sorted(path.relative_to(folder) for path in folder.rglob("*.png"))
    kinds = ("overlay", "contour", "map")
    assert written == sorted(
        path.with_name(f"{path.stem}_{kind}.png") for path in pictures for kind in kinds
    )
    detector = load_detector(config.folder.detector)
    card = detector.card
    image = card.preprocess([str(test / pictures[0])])
    expected = detect(detector, image)["map"][0]
    with Image.open(test / pictures[0]) as picture:
        size = picture.size
    assert size != expected.shape[::-1]
    enlarged = Image.fromarray(expected).resize(size, Image.Resampling.BILINEAR)
    for kind in kinds:
        with Image.open(folder / pictures[0].with_name(f"{pictures[0].stem}_{kind}.png")) as read:
            assert read.size == size
            if kind == "map":
                np.testing.assert_allclose(np.asarray(read) / 65535, enlarged, atol=2e-3)
    # What was written is no picture to score, wherever it lies.
    again = ["predict", "-c", str(tiny_yaml), str(tmp_path / "in"), "--save-maps"]
    shutil.copytree(test, tmp_path / "in")
    for _ in range(2):
        records = tmp_path / "again.jsonl"
        assert main([*again, str(tmp_path / "in" / "maps"), "--output", str(records)]) == 0
        assert len(records.read_text(encoding="utf-8").splitlines()) == len(pictures)

    model = Engine(config, "export").export(["onnx"])[0]
    words = ["--model", str(model), "--backend", "onnx", str(test), "--save-maps"]
    deployed = tmp_path / "deployed"
    assert command.main([*words, str(deployed), "--output", str(records)]) == 0
    for path in written:
        if path.name.endswith("_map.png"):
            with Image.open(folder / path) as left, Image.open(deployed / path) as right:
                difference = np.asarray(left, np.int64) - np.asarray(right, np.int64)
                assert abs(difference).max() <= 200


def test_a_detector_without_maps_says_so(
    tiny_yaml: Path, demo_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Engine(load_config(tiny_yaml, ["Global.epochs=1", "Localize=null"]), "train").train()
    capsys.readouterr()
    arguments = ["predict", "-c", str(tiny_yaml), str(demo_root), "--save-maps", str(tmp_path)]
    assert main(arguments) == 2
    assert "Localize" in capsys.readouterr().err


def written_by(writer: MapWriter, paths: list[str], folder: Path) -> set[str]:
    for path in paths:
        writer.write(path, np.zeros((4, 4), np.float32))
    return {str(path.relative_to(folder)) for path in folder.rglob("*_map.png")}


def pictures(folder: Path, *names: str) -> list[str]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 8)).save(folder / name, "PNG")
    return [str(folder / name) for name in names]


def test_pictures_of_one_stem_do_not_overwrite_each_other(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "in", "a.png", "a.jpg", "b/a.png")
    writer = MapWriter(tmp_path / "out", paths)
    names = written_by(writer, paths, tmp_path / "out")
    assert names == {"a.png_map.png", "a.jpg_map.png", "b/a_map.png"}


def test_every_picture_has_files_of_its_own(tmp_path: Path) -> None:
    names = ("a.png", "a.jpg", "a.png.tif", "A.bmp", "c.png", "C.png", "c.png.png", "d", "d.png")
    paths = pictures(tmp_path / "in", *names)
    found = written_by(MapWriter(tmp_path / "out", paths), paths, tmp_path / "out")
    assert len({name.casefold() for name in found}) == len(names)


@pytest.mark.parametrize("letter", ["x", "图"])
def test_a_long_name_is_cut_and_stays_its_own(tmp_path: Path, letter: str) -> None:
    most = 249 // len(letter.encode())
    ends = ("1", "2")
    paths = pictures(tmp_path / "in", *(letter * (most - 1) + end + ".png" for end in ends))
    found = written_by(MapWriter(tmp_path / "out", paths), paths, tmp_path / "out")
    assert len(found) == 2
    assert all(len(name.encode()) <= 255 for name in found)


def test_a_map_never_replaces_a_picture(tmp_path: Path) -> None:
    paths = pictures(tmp_path, "a.png", "a_map.png")
    (tmp_path / "link").symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path / "link"):
        with pytest.raises(UserError, match=r"a_map\.png is one of the pictures.*another folder"):
            MapWriter(folder, paths)
    assert written_by(MapWriter(tmp_path / "out", paths), paths, tmp_path / "out")
