"""``data check``: what it counts, what it finds wrong, and its exit code."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import layout_fixtures as fixtures
import numpy as np
import pytest
from PIL import Image

from ppcls_sspcab.cli.main import main

Capture = pytest.CaptureFixture[str]


def test_it_counts_and_finds_nothing_wrong(tmp_path: Path, capsys: Capture) -> None:
    root = fixtures.mvtec(tmp_path)
    fixtures.picture(root / "bottle/train/good/wide.png", mode="L", size=(20, 6))
    assert main(["data", "check", str(root)]) == 0
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    rows = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert rows[0] == [f"{root}: MVTecDataset"]
    assert rows[3:6] == [
        ["split", "kind", "pictures", "sizes", "modes", "masks"],
        ["train", "good", "6", "8-20 x 6-6 (2 different)", "L 1, RGB 5"],
        ["test", "good", "2", "8x6", "RGB"],
    ]
    assert rows[6] == ["test", "hole", "2", "8x6", "RGB", "2 of 2"]
    assert rows[-1] == ["2 categories: nothing is wrong"]


def test_it_finds_what_is_wrong(tmp_path: Path, capsys: Capture) -> None:
    root = fixtures.mvtec(tmp_path)
    part = root / "bottle"
    (part / "train/good/001.png").write_bytes(b"no picture")
    for index in range(2, 6):
        fixtures.picture(part / f"test/hole/{index:03d}.png")
    fixtures.mask(part / "ground_truth/hole/002_mask.png", ())
    fixtures.picture(part / "ground_truth/hole/003_mask.png", mode="L", size=(4, 4))
    (part / "ground_truth/hole/004_mask.png").write_bytes(b"no mask")
    assert main(["data", "check", str(root)]) == 2
    said = capsys.readouterr().out
    for text in (
        f"1 x unreadable pictures\n    {part}/train/good/001.png: is no picture",
        f"1 x masks that mark nothing\n    {part}/ground_truth/hole/002_mask.png",
        "1 x masks of another size than their pictures\n"
        f"    {part}/ground_truth/hole/003_mask.png is 4x4, its picture 8x6",
        f"1 x unreadable masks\n    {part}/ground_truth/hole/004_mask.png",
        f"1 x bad pictures without a mask, while others have one\n    {part}/test/hole/005.png",
        "2 categories: something is wrong in bottle",
    ):
        assert text in said
    assert main(["data", "check", str(root), "--category", "cable"]) == 0


def test_a_wrong_layout_of_one_category_does_not_hide_the_others(
    tmp_path: Path, capsys: Capture
) -> None:
    root = fixtures.mvtec(tmp_path)
    fixtures.mask(root / "bottle/ground_truth/hole/099_mask.png")
    assert main(["data", "check", str(root)]) == 2
    said = capsys.readouterr().out
    assert "the layout is wrong" in said and "099_mask.png" in said
    assert "cable\n  split" in said


def test_a_set_without_masks_is_not_wrong(tmp_path: Path, capsys: Capture) -> None:
    for name in ("good/0", "good/1", "good/2", "good/3", "good/4"):
        fixtures.picture(tmp_path / f"part/{name}.png")
    assert main(["data", "check", str(tmp_path), "--dataset", "FolderDataset"]) == 0
    said = capsys.readouterr().out
    assert "note: no bad pictures to test on" in said and "by the hash of their names" in said


def test_unknown_names_are_one_line(tmp_path: Path, capsys: Capture) -> None:
    fixtures.mvtec(tmp_path)
    assert main(["data", "check", str(tmp_path), "--dataset", "MVTecDatset"]) == 2
    assert "did you mean 'MVTecDataset'" in capsys.readouterr().err
    assert main(["data", "check", str(tmp_path / "bottle")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_it_loads_no_paddle(tmp_path: Path) -> None:
    root = fixtures.mvtec(tmp_path)
    script = (
        "import sys; from ppcls_sspcab.cli.main import main; "
        f"code = main(['data', 'check', {str(root)!r}]); sys.exit(code or 'paddle' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def noise(path: Path, seed: int, size: tuple[int, int] = (40, 30), grey: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    low = np.random.default_rng(seed).integers(0, 256, (5, 5, 3)).astype(np.uint8)
    picture = Image.fromarray(low).resize(size, Image.Resampling.BICUBIC)
    (picture.convert("L") if grey else picture).save(path)
    return path


def test_it_says_what_does_not_go_together(tmp_path: Path, capsys: Capture) -> None:
    part = tmp_path / "part"
    train = [noise(part / f"train/good/{number}.png", number) for number in range(8)]
    for number in range(20, 24):
        noise(part / f"test/good/{number}.png", number)
    noise(part / "test/dent/0.png", 30)
    assert main(["data", "check", str(tmp_path)]) == 0
    calm = capsys.readouterr().out
    assert calm.count("note:") == 1 and "no bad picture has a mask" in calm

    grey = noise(part / "train/good/grey.png", 40, grey=True)
    wide = noise(part / "test/good/wide.png", 41, size=(60, 30))
    shutil.copy(train[2], part / "test/good/copy.png")
    shutil.copy(train[3], part / "train/good/again.png")
    with Image.open(train[1]) as read:
        read.save(part / "test/good/near.jpg", quality=90)
    assert main(["data", "check", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    for text in (
        f"1 x grey pictures among coloured ones: {grey}",
        f"another shape than most (all are stretched to one): {wide} (60x30)",
        "1 x sizes of pictures that are tested and never trained on: 60x30 (1)",
        f"1 x test pictures that are in train too: figures will be too good: "
        f"{part}/test/good/copy.png = {train[2]}",
        f"1 x pictures that are in train twice: {part}/train/good/again.png = {train[3]}",
        f"1 x test pictures that nearly equal one in train: figures may be too good: "
        f"{part}/test/good/near.jpg = {train[1]}",
    ):
        assert text in said, text

    shutil.copy(train[4], part / "test/dent/1.png")
    assert main(["data", "check", str(tmp_path)]) == 2
    said = capsys.readouterr().out
    assert f"WRONG: 1 x pictures that are good and bad at once\n    {train[4]} = " in said


def test_it_finds_the_folder_of_bad_pictures(tmp_path: Path, capsys: Capture) -> None:
    for number in range(6):
        noise(tmp_path / f"part/good/{number}.png", number)
    (tmp_path / "part/bad").mkdir()
    assert main(["data", "check", str(tmp_path)]) == 0
    assert "no bad pictures to test on" in capsys.readouterr().out
    (tmp_path / "part/bad/9.png").write_bytes(b"no picture")
    assert main(["data", "check", str(tmp_path)]) == 2
    assert "bad/9.png: is no picture" in capsys.readouterr().out
