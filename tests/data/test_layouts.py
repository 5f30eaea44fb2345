"""The adapters of published data sets, on tiny copies in their real layouts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import layout_fixtures as fixtures
import numpy as np
import pytest

from ppcls_sspcab.data.datasets.layouts import LAYOUTS, layout_of
from ppcls_sspcab.data.masks import true_mask, whole_mask
from ppcls_sspcab.errors import DataError
from ppcls_sspcab.registry import DATASETS

SHAPE = fixtures.SIZE[::-1]

# Writer, class, categories, and of the first category (train, test good, test bad by kind).
CASES: list[tuple[Callable[[Path], Path], str, list[str], tuple[int, int, dict[str, int]]]] = [
    (fixtures.mvtec, "MVTecDataset", ["bottle", "cable"], (5, 2, {"hole": 2})),
    (fixtures.mpdd, "MPDDDataset", ["bracket_black", "tubes"], (5, 2, {"hole": 2})),
    (
        fixtures.mvtec_loco,
        "MVTecLOCODataset",
        ["breakfast_box"],
        (6, 2, {"logical_anomalies": 1, "structural_anomalies": 2}),
    ),
    (fixtures.mvtec_3d, "MVTec3DDataset", ["bagel"], (6, 2, {"crack": 2})),
    (fixtures.visa, "VisADataset", ["candle", "pcb1"], (4, 2, {"anomaly": 2})),
    (fixtures.btad, "BTADDataset", ["01", "02", "03"], (3, 2, {"ko": 2})),
    # Items 2 and 4 of 5 are tested; of 1, 3 and 5 two pictures each are good.
    (fixtures.kolektor_sdd, "KolektorSDDDataset", ["commutator"], (6, 4, {"crack": 2})),
]
each_layout = pytest.mark.parametrize(
    "write, name, categories, counts", CASES, ids=[case[1] for case in CASES]
)


def built(root: Path, name: str, category: str) -> Any:
    return DATASETS.build({"name": name}, "dataset", data_root=str(root), category=category)


@each_layout
def test_splits_and_masks(
    tmp_path: Path,
    write: Callable[[Path], Path],
    name: str,
    categories: list[str],
    counts: tuple[int, int, dict[str, int]],
) -> None:
    root = write(tmp_path / "set")
    assert DATASETS.get(name).categories(str(root)) == categories
    for category in categories:
        dataset = built(root, name, category)
        assert len(dataset.train) == counts[0]
        assert {(s.label, s.defect, s.split) for s in dataset.train} == {(0, "good", "train")}
        assert all(sample.split == "test" for sample in dataset.test)
        kinds = Counter(sample.defect for sample in dataset.test if sample.label)
        assert kinds == counts[2]
        good = [sample for sample in dataset.test if not sample.label]
        assert len(good) == counts[1]
        assert all(sample.mask_path is None and sample.defect == "good" for sample in good)
        paths = [sample.path for sample in (*dataset.train, *dataset.test)]
        assert len(set(paths)) == len(paths) and all(Path(path).is_file() for path in paths)
        for sample in dataset.test:
            marked = true_mask(sample, SHAPE)
            assert marked is not None and marked.any() == bool(sample.label)


@each_layout
def test_the_layout_is_found_and_a_wrong_root_is_explained(
    tmp_path: Path,
    write: Callable[[Path], Path],
    name: str,
    categories: list[str],
    counts: tuple[int, int, dict[str, int]],
) -> None:
    root = write(tmp_path / "above" / "set")
    assert layout_of(root).__name__ == name
    folder = next(path for path in sorted(root.iterdir()) if path.is_dir())
    for wrong in (root.parent, folder):
        with pytest.raises(DataError, match=f"set looks like {name}"):
            layout_of(wrong)
        with pytest.raises(DataError, match=f"{root}; set data_root to it|data_root to {root}"):
            LAYOUTS[name].categories(str(wrong))
    with pytest.raises(DataError, match="does not exist"):
        LAYOUTS[name].categories(str(root / "nowhere"))
    with pytest.raises(DataError, match="nonsense"):
        built(root, name, "nonsense")


def test_every_layout_is_registered() -> None:
    assert set(LAYOUTS) <= set(DATASETS.names())
    assert all(DATASETS.get(name) is layout for name, layout in LAYOUTS.items())


def test_folders_and_lists_are_found(tmp_path: Path) -> None:
    fixtures.picture(tmp_path / "folders/part/good/0.png")
    assert layout_of(tmp_path / "folders").__name__ == "FolderDataset"
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/part.csv").write_text("path,label\n")
    assert layout_of(tmp_path / "lists").__name__ == "ListDataset"
    assert layout_of(tmp_path / "lists/part.csv").__name__ == "ListDataset"


def test_several_layouts_or_none_name_what_is_known(tmp_path: Path) -> None:
    fixtures.btad(tmp_path / "both")
    fixtures.mvtec(tmp_path / "both")
    with pytest.raises(DataError, match="MVTecDataset and BTADDataset: say which"):
        layout_of(tmp_path / "both")
    (tmp_path / "empty/inside").mkdir(parents=True)
    with pytest.raises(DataError, match=r"none of the known layouts.*VisADataset"):
        layout_of(tmp_path / "empty/inside")


def test_mvtec_may_hold_a_name_of_mpdd(tmp_path: Path) -> None:
    assert layout_of(fixtures.mvtec(tmp_path, ("bottle", "tubes"))).__name__ == "MVTecDataset"


def test_loco_unites_the_masks_of_a_picture(tmp_path: Path) -> None:
    root = fixtures.mvtec_loco(tmp_path)
    (sample,) = (
        sample
        for sample in built(root, "MVTecLOCODataset", "breakfast_box").test
        if sample.defect == "logical_anomalies"
    )
    expected = np.zeros(SHAPE, bool)
    expected[:, [1, 5, 6]] = True
    found = whole_mask(sample)
    assert found is not None
    np.testing.assert_array_equal(found, expected)
    larger = true_mask(sample, (SHAPE[0] * 2, SHAPE[1] * 2))
    assert larger is not None
    np.testing.assert_array_equal(larger, expected.repeat(2, 0).repeat(2, 1))

    part = root / "breakfast_box/ground_truth/logical_anomalies"
    fixtures.picture(part / "000/001.png", mode="L", size=(3, 3))
    with pytest.raises(DataError, match=r"001\.png.*differ in size: 3x3, 8x6"):
        whole_mask(sample)
    (part / "007").mkdir()
    with pytest.raises(DataError, match=r"no masks in .*007"):
        built(root, "MVTecLOCODataset", "breakfast_box")
    fixtures.mask(part / "007/000.png")
    with pytest.raises(DataError, match="belong to no picture"):
        built(root, "MVTecLOCODataset", "breakfast_box")


def test_mpdd_needs_every_mask(tmp_path: Path) -> None:
    root = fixtures.mpdd(tmp_path)
    (root / "tubes/ground_truth/hole/001_mask.png").unlink()
    with pytest.raises(DataError, match=r"1 bad picture\(s\).*001\.png.*not complete"):
        built(root, "MPDDDataset", "tubes")


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("candle,train,normal", "candle,learn,normal", "line 2: split must be train or test"),
        ("candle,train,normal", "candle,train,fine", "line 2: label must be normal or anomaly"),
        ("Images/Normal/0000.JPG", "Images/Normal/nope.JPG", "line 2: .*nope.JPG does not exist"),
        ("object,split", "item,split", "no column 'object'"),
        ("candle,test,anomaly", "candle,train,anomaly", "a bad picture cannot be in train"),
    ],
)
def test_visa_names_the_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    table = fixtures.visa(tmp_path) / "split_csv/1cls.csv"
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=said):
        built(tmp_path, "VisADataset", "candle")


def test_kolektor_keeps_items_apart(tmp_path: Path) -> None:
    dataset = built(fixtures.kolektor_sdd(tmp_path), "KolektorSDDDataset", "commutator")

    def items(samples: list[Any]) -> set[str]:
        return {Path(sample.path).parent.name for sample in samples}

    assert items(dataset.train) == {"kos01", "kos03", "kos05"}
    assert items(dataset.test) == {"kos02", "kos04"}
    (tmp_path / "kos02/Part0_label.bmp").unlink()
    with pytest.raises(DataError, match=r"Part0\.jpg has no label"):
        built(tmp_path, "KolektorSDDDataset", "commutator")
    (tmp_path / "kos02/Part0.jpg").unlink()
    fixtures.mask(tmp_path / "kos02/Part9_label.bmp")
    with pytest.raises(DataError, match="label of no picture"):
        built(tmp_path, "KolektorSDDDataset", "commutator")
