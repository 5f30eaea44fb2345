"""The procedural data set: deterministic, with exact masks, readable as MVTec."""

import numpy as np
import pytest

from ppcls_sspcab.cli.main import main
from ppcls_sspcab.data.datasets.mvtec import MVTecDataset
from ppcls_sspcab.data.generated import CATEGORIES, DEFECTS, generate_demo, render
from ppcls_sspcab.data.masks import true_mask
from ppcls_sspcab.errors import DataError
from ppcls_sspcab.image.decode import decode

SMALL = {"size": 32, "train": 3, "test": 2, "bad": 1}
KINDS = [(category, defect) for category, defects in DEFECTS.items() for defect in defects]
# Size of the picture, and the least and greatest share of it that a defect may change.
EXTENTS = {"screw": (192, 0.0002, 0.015)}


def contents(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_same_seed_gives_the_same_files(tmp_path):
    generate_demo(tmp_path / "a", 3, **SMALL)
    generate_demo(tmp_path / "b", 3, **SMALL)
    first = contents(tmp_path / "a")
    assert first == contents(tmp_path / "b")
    generate_demo(tmp_path / "a", 3, **SMALL)
    assert contents(tmp_path / "a") == first
    generate_demo(tmp_path / "c", 4, **SMALL)
    other = contents(tmp_path / "c")
    assert other.keys() == first.keys()
    assert not set(first.values()) & {v for k, v in other.items() if "ground_truth" not in str(k)}


def test_every_picture_of_a_data_set_is_another(tmp_path):
    generate_demo(tmp_path, 0, **SMALL)
    pictures = [v for k, v in contents(tmp_path).items() if "ground_truth" not in str(k)]
    assert len(set(pictures)) == len(pictures) == 2 * (3 + 2) + 4 + 3


def test_reads_as_mvtec_with_masks(tmp_path):
    generate_demo(tmp_path, 0, **SMALL)
    assert MVTecDataset.categories(str(tmp_path)) == sorted(CATEGORIES)
    for category in CATEGORIES:
        dataset = MVTecDataset(str(tmp_path), category)
        assert len(dataset.train) == 3
        assert {s.defect for s in dataset.test} == {"good", *DEFECTS[category]}
        assert decode(dataset.train[0].path).shape == (32, 32, 3)
        for sample in dataset.test:
            assert (sample.mask_path is not None) == (sample.label == 1)
            assert true_mask(sample, (32, 32)).any() == (sample.label == 1)


@pytest.mark.slow
@pytest.mark.parametrize("category, defect", KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_mask_is_what_the_defect_changes_and_shows(category, defect, seed):
    size, least, most = EXTENTS.get(category, (64, 0.002, 0.12))
    good, none = render(category, None, (seed, 5), size)
    bad, mask = render(category, defect, (seed, 5), size)
    assert not none.any()
    np.testing.assert_array_equal((bad != good).any(axis=2), mask)
    assert least < mask.mean() < most
    assert (np.abs(bad.astype(int) - good).max(axis=2) > 30).sum() >= 8


def test_good_parts_vary_but_little(tmp_path):
    pictures = np.stack([render("gasket", None, (seed,), 48)[0] for seed in range(5)]).astype(int)
    spread = np.abs(pictures - pictures.mean(axis=0)).mean()
    assert 2 < spread < 15


def test_screws_lie_at_any_angle():
    angles = []
    for seed in range(12):
        picture = render("screw", None, (seed,), 64)[0].astype(int)
        ground = np.median(picture, axis=(0, 1))
        rows, columns = np.nonzero(np.abs(picture - ground).sum(axis=2) > 60)
        _, axes = np.linalg.eigh(np.cov(rows, columns))  # the long axis is the last
        angles.append(np.degrees(np.arctan2(axes[0, 1], axes[1, 1])) % 180)
    gaps = np.diff([*sorted(angles), min(angles) + 180])
    assert gaps.max() < 90


def test_errors(tmp_path, capsys):
    generate_demo(tmp_path, 0, **SMALL)
    with pytest.raises(DataError, match="holds other data"):
        generate_demo(tmp_path, 0, **{**SMALL, "train": 2})
    with pytest.raises(DataError, match="size"):
        generate_demo(tmp_path / "x", 0, size=16)
    words = ["data", "generate", "--size", "32", "--train", "2", "--test", "1", "--bad", "1"]
    words.append("--output")
    assert main([*words, str(tmp_path)]) == 2
    assert "error: " in capsys.readouterr().err
    assert main([*words, str(tmp_path / "y")]) == 0
    assert len(MVTecDataset(str(tmp_path / "y"), "mesh").train) == 2
    assert main([*words, str(tmp_path / "z"), "--categories", "screw"]) == 0
    assert MVTecDataset.categories(str(tmp_path / "z")) == ["screw"]
    assert main([*words, str(tmp_path / "z"), "--categories", "screws"]) == 2
    assert "did you mean 'screw'" in capsys.readouterr().err
