"""``predict --save-maps``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppcls_sspcab.cli.main import main
from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.detector.file import load_detector
from ppcls_sspcab.detector.run import detect
from ppcls_sspcab.engine.engine import Engine
from ppcls_sspcab.image.maps import MapWriter


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
    with Image.open(folder / pictures[0].with_name(f"{pictures[0].stem}_map.png")) as read:
        np.testing.assert_allclose(np.asarray(read) / 65535, expected, atol=2e-3)


def test_a_detector_without_maps_says_so(
    tiny_yaml: Path, demo_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Engine(load_config(tiny_yaml, ["Global.epochs=1", "Localize=null"]), "train").train()
    capsys.readouterr()
    arguments = ["predict", "-c", str(tiny_yaml), str(demo_root), "--save-maps", str(tmp_path)]
    assert main(arguments) == 2
    assert "Localize" in capsys.readouterr().err


def test_pictures_of_one_stem_do_not_overwrite_each_other(tmp_path: Path) -> None:
    paths = [str(tmp_path / "in" / name) for name in ("a.png", "a.jpg", "b/a.png")]
    writer = MapWriter(tmp_path / "out", paths)
    for path in paths:
        writer.write(path, np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.float32))
    names = {str(path.relative_to(tmp_path / "out")) for path in tmp_path.rglob("*_map.png")}
    assert names == {"a.png_map.png", "a.jpg_map.png", "b/a_map.png"}
