"""What the three data sets list, and what they say when something is wrong."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppcls_sspcab.data.datasets.csv_list import ListDataset
from ppcls_sspcab.data.datasets.folder import FolderDataset
from ppcls_sspcab.data.datasets.mvtec import MVTecDataset
from ppcls_sspcab.data.masks import true_mask
from ppcls_sspcab.data.samples import Sample
from ppcls_sspcab.data.split import held_out
from ppcls_sspcab.errors import DataError
from ppcls_sspcab.registry import DATASETS


def picture(path: Path, pixels=None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((4, 4), np.uint8) if pixels is None else pixels
    kind = "PNG" if path.suffix.lower() not in (".jpg", ".tif") else None
    Image.fromarray(pixels).save(path, kind)
    return path


@pytest.fixture
def mvtec(tmp_path):
    part = tmp_path / "Weird name #1"
    for name in ("b.PNG", "a.jpg", "c.Tif"):
        picture(part / "train/good" / name)
    (part / "train/good/notes.txt").write_text("no picture")
    (part / "train/good/._a.jpg").write_text("left by another system")
    picture(part / "test/good/0.png")
    picture(part / "test/scratch/000.png")
    picture(part / "test/scratch/001.png")
    picture(part / "test/scratch/002.png")
    picture(part / "ground_truth/scratch/000_mask.png")
    picture(part / "ground_truth/scratch/001.png")
    return tmp_path


def names(samples):
    return [Path(sample.path).name for sample in samples]


def test_mvtec_lists_sorted_pictures_and_pairs_masks(mvtec):
    dataset = MVTecDataset(str(mvtec), "Weird name #1")
    assert names(dataset.train) == ["a.jpg", "b.PNG", "c.Tif"]
    assert {(s.label, s.defect, s.split) for s in dataset.train} == {(0, "good", "train")}
    assert names(dataset.test) == ["0.png", "000.png", "001.png", "002.png"]
    assert [s.label for s in dataset.test] == [0, 1, 1, 1]
    masks = [s.mask_path and Path(s.mask_path).name for s in dataset.test]
    assert masks == [None, "000_mask.png", "001.png", None]
    assert MVTecDataset.categories(str(mvtec)) == ["Weird name #1"]


def test_mvtec_unknown_category_lists_near_names(mvtec):
    with pytest.raises(DataError, match="Weird name #1"):
        MVTecDataset(str(mvtec), "weird name 1")
    with pytest.raises(DataError, match=f"did you mean '{mvtec.name}'"):
        MVTecDataset(str(mvtec) + "x", "bottle")


@pytest.mark.parametrize("count, said", [(0, "no good pictures"), (1, "only one good picture")])
def test_mvtec_too_few_good_pictures(mvtec, count, said):
    for path in sorted((mvtec / "Weird name #1/train/good").iterdir())[count + 1 :]:
        path.unlink()
    with pytest.raises(DataError, match=f"{said}.*at least 2"):
        MVTecDataset(str(mvtec), "Weird name #1")


@pytest.mark.parametrize("lonely", ["scratch/009_mask.png", "dent/000_mask.png", "scratch/000.png"])
def test_mvtec_mask_without_picture(mvtec, lonely):
    picture(mvtec / "Weird name #1/ground_truth" / lonely)
    with pytest.raises(DataError, match=lonely):
        MVTecDataset(str(mvtec), "Weird name #1")


def test_mvtec_test_may_be_only_good_or_absent(tmp_path):
    for name in ("0.png", "1.png"):
        picture(tmp_path / "part/train/good" / name)
    assert MVTecDataset(str(tmp_path), "part").test == []
    picture(tmp_path / "part/test/good/0.png")
    assert [s.label for s in MVTecDataset(str(tmp_path), "part").test] == [0]


def test_mvtec_missing_train_good_and_no_categories(tmp_path):
    picture(tmp_path / "part/train/God/0.png")
    with pytest.raises(DataError, match="did you mean 'God'"):
        MVTecDataset(str(tmp_path), "part")
    with pytest.raises(DataError, match="train/good"):
        MVTecDataset.categories(str(tmp_path))


def test_true_mask(tmp_path):
    values = np.zeros((4, 6), np.uint8)
    values[:2, :3] = 1
    mask = str(picture(tmp_path / "m.png", values))
    sample = Sample(mask, 1, "dent", mask, "test")
    same = true_mask(sample, (4, 6))
    np.testing.assert_array_equal(same, values > 0)
    assert same.dtype == bool
    np.testing.assert_array_equal(
        true_mask(sample, (8, 12)), np.repeat(np.repeat(values > 0, 2, 0), 2, 1)
    )
    assert true_mask(Sample("x.png", 1, "dent", None, "test"), (4, 6)) is None
    good = true_mask(Sample("x.png", 0, "good", None, "test"), (4, 6))
    assert good.shape == (4, 6) and not good.any()


def test_folder_of_good_pictures_is_enough(tmp_path):
    for index in range(10):
        picture(tmp_path / "part/good" / f"{index}.png")
    dataset = FolderDataset(str(tmp_path), "part")
    assert len(dataset.test) == 2
    moved = shutil.copytree(tmp_path / "part", tmp_path / "other" / "part")
    assert names(FolderDataset(str(moved.parent), "part").test) == names(dataset.test)
    assert not set(names(dataset.train)) & set(names(dataset.test))
    assert len(dataset.train) == 8
    assert "of 10 good pictures 2" in dataset.split_note
    whole = FolderDataset(str(tmp_path), "part", test_share=0.0)
    assert len(whole.train) == 10 and whole.test == []
    assert FolderDataset.categories(str(moved.parent)) == ["part"]


def test_folder_with_everything(tmp_path):
    for name in ("ok/0.png", "ok/1.png", "ok2/0.png", "bad/0.png", "bad/dent/0.png", "crack/1.png"):
        picture(tmp_path / "part" / name)
    picture(tmp_path / "part/masks/dent/0_mask.png")
    picture(tmp_path / "part/masks/1.png")
    dataset = FolderDataset(
        str(tmp_path),
        "part",
        good_dir="ok",
        bad_dir=["bad", "crack"],
        mask_dir="masks",
        test_good_dir="ok2",
    )
    assert len(dataset.train) == 2 and dataset.split_note is None
    found = [(s.defect, Path(s.mask_path).name if s.mask_path else None) for s in dataset.test]
    assert found == [
        ("good", None),
        ("bad", None),
        ("dent", "0_mask.png"),
        ("crack", "1.png"),
    ]


def test_folder_errors(tmp_path):
    for index in range(3):
        picture(tmp_path / "part" / f"{index}.png")
    with pytest.raises(DataError, match=r"good_dir: '\.'"):
        FolderDataset(str(tmp_path), "part")
    dataset = FolderDataset(str(tmp_path), "part", good_dir=".", test_share=0.9)
    assert len(dataset.train) == 2
    (tmp_path / "part/bad").mkdir()
    with pytest.raises(DataError, match=r"no pictures in .*bad"):
        FolderDataset(str(tmp_path), "part", good_dir=".", bad_dir="bad")
    with pytest.raises(DataError, match="did you mean 'bad'"):
        FolderDataset(str(tmp_path), "part", good_dir=".", bad_dir="bat")
    with pytest.raises(ValueError, match="test_share"):
        FolderDataset(str(tmp_path), "part", test_share=1.0)


def test_folder_mask_that_fits_two_pictures(tmp_path):
    for name in ("good/0.png", "good/1.png", "bad/a/0.png", "bad/b/0.png", "masks/0.png"):
        picture(tmp_path / "part" / name)
    with pytest.raises(DataError, match="fits both"):
        FolderDataset(str(tmp_path), "part", bad_dir="bad", mask_dir="masks")


@pytest.mark.parametrize("count", range(12))
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9])
def test_held_out_leaves_two_and_takes_the_share(count, share):
    marks = held_out([str(number) for number in range(count)], share)
    assert len(marks) == count
    assert sum(marks) == min(int(count * share + 1e-9), max(0, count - 2))


@pytest.mark.parametrize("period", [2, 3, 4, 5, 10])
def test_cameras_that_take_turns_are_all_trained_on_and_tested(period):
    """Of 200 pictures by cameras in turn a fifth is tested: near a fifth of each camera's."""
    marks = np.array(held_out([f"{number:04d}.png" for number in range(200)], 0.2))
    shares = [marks[camera::period].mean() for camera in range(period)]
    assert min(shares) > 0 and max(shares) < 0.5


def test_hardly_a_picture_changes_sides_when_some_are_added():
    names = [f"{number:04d}.png" for number in range(200)]
    before = held_out(names, 0.2)
    after = dict(zip([*names, *"abcdefghij"], held_out([*names, *"abcdefghij"], 0.2), strict=True))
    assert sum(after[name] != mark for name, mark in zip(names, before, strict=True)) <= 5


@pytest.fixture
def listed(tmp_path):
    for name in ("a.png", "b.png", "c.png", "d.png", "m.png"):
        picture(tmp_path / "pictures" / name)
    return tmp_path


HEADER = "path,label,mask,split\n"
ROWS = "pictures/b.png,good,,train\npictures/a.png,0,,train\npictures/c.png,0,,test\n"


def test_list_reads_rows(listed):
    file = listed / "part.csv"
    file.write_text("\ufeff" + HEADER + ROWS + "pictures/d.png,1,pictures/m.png,test\n")
    for root in (listed, file):
        dataset = ListDataset(str(root), "part")
        assert names(dataset.train) == ["b.png", "a.png"]
        assert [(s.label, s.defect) for s in dataset.test] == [(0, "good"), (1, "bad")]
        assert Path(dataset.test[1].mask_path) == listed / "pictures/m.png"
        assert ListDataset.categories(str(root)) == ["part"]


def test_list_category_and_defect_columns_without_split(listed):
    (listed / "all.csv").write_text(
        "path,label,defect,category\n"
        + "".join(f"pictures/{name}.png,good,,x\n" for name in "abc")
        + "pictures/d.png,bad,dent,x\npictures/d.png,good,,y\n"
    )
    dataset = ListDataset(str(listed), "x", test_share=0.4)
    assert (len(dataset.train), [s.defect for s in dataset.test]) == (2, ["good", "dent"])
    assert "of 3 good pictures 1" in dataset.split_note
    assert ListDataset.categories(str(listed)) == ["x", "y"]
    with pytest.raises(DataError, match="only one good"):
        ListDataset(str(listed), "y")
    with pytest.raises(DataError, match="known: x, y"):
        ListDataset(str(listed), "all")


@pytest.mark.parametrize(
    "text, said",
    [
        ("file,label\n", "no column 'path'"),
        ("path,lable\n", "did you mean 'lable'"),
        ("path,label,slpit\n", "did you mean 'split'"),
        (HEADER + "pictures/a.png,fine,,train\n", "line 2.*good or bad"),
        (HEADER + "pictures/a.png,0,,val\n", "line 2.*train or test"),
        (HEADER + "pictures/a.png,1,,train\n", "bad picture cannot be in train"),
        (HEADER + "pictures/x.png,0,,train\n", "line 2.*x.png does not exist"),
        (HEADER + "pictures/a.png,1,pictures/x.png,test\n", "x.png does not exist"),
        (HEADER + "pictures/a.png,0,pictures/m.png,test\n", "good picture has no mask"),
        (HEADER + "pictures/a.png,0\n", "as many values"),
        (HEADER + "pictures/a.png,0,,train,7\n", "as many values"),
        (HEADER + "pictures/a.png,0,,train\npictures/a.png,0,,test\n", "listed twice"),
        (HEADER, "no CSV file with rows"),
    ],
)
def test_list_errors(listed, text, said):
    (listed / "part.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        ListDataset(str(listed), "part")


def test_list_that_is_no_text(listed):
    (listed / "part.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match="cannot be read as CSV"):
        ListDataset(str(listed), "part")


def test_registered():
    assert {"MVTecDataset", "FolderDataset", "ListDataset"} <= set(DATASETS.names())


def test_subfolders_of_a_kind_belong_to_it(tmp_path):
    """A day's or a camera's pictures in a folder of their own are trained on and tested, too."""
    part = tmp_path / "part"
    for day in ("monday", "tuesday"):
        for index in range(3):
            picture(part / f"train/good/{day}/{index}.png")
            picture(part / f"test/dent/{day}/{index}.png")
            picture(part / f"ground_truth/dent/{day}/{index}_mask.png")
            picture(part / f"good/{day}/{index}.png")
            picture(part / f"bad/dent/{day}/{index}.png")
    dataset = MVTecDataset(str(tmp_path), "part")
    assert len(dataset.train) == len(dataset.test) == 6
    for sample in dataset.test:
        assert sample.defect == "dent"
        below = Path(sample.path).relative_to(part / "test").with_suffix("")
        assert sample.mask_path == f"{part}/ground_truth/{below}_mask.png"
    folders = FolderDataset(str(tmp_path), "part", test_share=0.0)
    assert len(folders.train) == 6
    assert [sample.defect for sample in folders.test] == ["dent"] * 6


def test_a_category_that_is_its_own_good_folder_takes_no_subfolder(tmp_path):
    for name in ("0.png", "1.png", "2.png", "bad/3.png", "unknown/4.png"):
        picture(tmp_path / "part" / name)
    dataset = FolderDataset(str(tmp_path), "part", good_dir=".", test_share=0.0)
    assert [Path(sample.path).name for sample in dataset.train] == ["0.png", "1.png", "2.png"]
    assert [Path(sample.path).name for sample in dataset.test] == ["3.png"]
    nested = FolderDataset(str(tmp_path / ".."), tmp_path.name, good_dir="part", bad_dir="part/bad")
    names = [Path(sample.path).name for sample in nested.train + nested.test]
    assert sorted(names) == ["0.png", "1.png", "2.png", "3.png", "4.png"]
    assert [sample.label for sample in nested.test if "3.png" in sample.path] == [1]
