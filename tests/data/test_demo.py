"""The procedural data set: deterministic, with exact masks, readable as MVTec."""

import numpy as np
import pytest

from ppcls_sspcab.data.demo import DEFECTS, generate_demo, main, render
from ppcls_sspcab.data.mvtec import MVTecDataset
from ppcls_sspcab.data.samples import load_mask
from ppcls_sspcab.errors import DataError
from ppcls_sspcab.runtime import decode

SMALL = {"size": 32, "train": 3, "test": 2, "bad": 1}
KINDS = [(category, defect) for category, defects in DEFECTS.items() for defect in defects]


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
    assert len(set(pictures)) == len(pictures) == 2 * (3 + 2) + len(KINDS)


def test_reads_as_mvtec_with_masks(tmp_path):
    generate_demo(tmp_path, 0, **SMALL)
    assert MVTecDataset.categories(str(tmp_path)) == sorted(DEFECTS)
    for category, defects in DEFECTS.items():
        dataset = MVTecDataset(str(tmp_path), category)
        assert len(dataset.train) == 3
        assert {s.defect for s in dataset.test} == {"good", *defects}
        assert decode(dataset.train[0].path).shape == (32, 32, 3)
        for sample in dataset.test:
            assert (sample.mask_path is not None) == (sample.label == 1)
            assert load_mask(sample, (32, 32)).any() == (sample.label == 1)


@pytest.mark.parametrize("category, defect", KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_mask_is_what_the_defect_changes_and_shows(category, defect, seed):
    good, none = render(category, None, (seed, 5), 64)
    bad, mask = render(category, defect, (seed, 5), 64)
    assert not none.any()
    np.testing.assert_array_equal((bad != good).any(axis=2), mask)
    assert 0.002 < mask.mean() < 0.12
    assert (np.abs(bad.astype(int) - good).max(axis=2) > 30).sum() >= 8


def test_good_parts_vary_but_little(tmp_path):
    pictures = np.stack([render("gasket", None, (seed,), 48)[0] for seed in range(5)]).astype(int)
    spread = np.abs(pictures - pictures.mean(axis=0)).mean()
    assert 2 < spread < 15


def test_errors(tmp_path, capsys):
    generate_demo(tmp_path, 0, **SMALL)
    with pytest.raises(DataError, match="holds other data"):
        generate_demo(tmp_path, 0, **{**SMALL, "train": 2})
    with pytest.raises(DataError, match="size"):
        generate_demo(tmp_path / "x", 0, size=16)
    arguments = ["--size", "32", "--train", "2", "--test", "1", "--bad", "1"]
    assert main(["--output", str(tmp_path), *arguments]) == 2
    assert "error: " in capsys.readouterr().err
    assert main(["--output", str(tmp_path / "y"), *arguments]) == 0
    assert len(MVTecDataset(str(tmp_path / "y"), "mesh").train) == 2
