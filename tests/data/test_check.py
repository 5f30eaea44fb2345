"""``data check``: what it counts, what it finds wrong, and its exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import layout_fixtures as fixtures
import pytest

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
    assert "note: no bad pictures to test on" in said and "evenly spread" in said


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
