"""What the README shows, run as it stands there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def block(language: str, containing: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.S)
    (found,) = [text for text in blocks if containing in text]
    return found


@pytest.mark.slow
def test_the_plugin_example_trains_and_is_short(tmp_path: Path, demo_root: Path) -> None:
    code = block("python", "my_losses.py")
    assert len(code.splitlines()) < 20
    (tmp_path / "my_losses.py").write_text(code)
    section = yaml.safe_load(block("yaml", "plugins"))
    section["_BASE_"] = str(REPOSITORY / "configs" / "demo.yaml")
    section["Global"] |= {
        "data_root": str(demo_root),
        "category": "mesh",
        "output_dir": str(tmp_path / "output"),
        "epochs": 1,
        "iter_per_epoch": 2,
    }
    section["Preprocess"] = {"image_size": [32, 32]}
    section["DataLoader"] = {"Train": {"sampler": {"batch_size": 2}}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(section))
    command = [sys.executable, REPOSITORY / "tools" / "train.py", "-c", "own.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ShortEmbeddingLoss" in (tmp_path / "output" / "mesh" / "train.csv").read_text()


@pytest.mark.slow
def test_own_pictures_train_evaluate_and_predict_as_described(
    tmp_path: Path, demo_root: Path
) -> None:
    housing = tmp_path / "parts" / "housing"
    shutil.copytree(demo_root / "gasket" / "train" / "good", housing / "good")
    shutil.copytree(demo_root / "gasket" / "test" / "scratch", housing / "bad")
    text = block("yaml", "housing").replace("configs/", f"{REPOSITORY}/configs/")
    (tmp_path / "housing.yaml").write_text(text)
    small = ["Global.epochs=1", "Global.iter_per_epoch=2", "Preprocess.image_size=[32, 32]"]
    small += ["Arch.pretrained=false", "Arch.freeze=[]", "DataLoader.Train.sampler.batch_size=2"]
    overrides = [word for pair in [*small, "Global.device=cpu"] for word in ("-o", pair)]
    for tool, words in (
        ("train", []),
        ("eval", ["--report"]),
        ("infer", [str(housing / "bad"), "--output", "scores.jsonl", "--save-maps", "maps"]),
    ):
        command = [sys.executable, REPOSITORY / "tools" / f"{tool}.py", "-c", "housing.yaml"]
        done = subprocess.run(
            [*command, *words, *overrides],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "output" / "housing" / "report.html").is_file()
    assert len((tmp_path / "scores.jsonl").read_text().splitlines()) == 8


def test_links_lead_to_files() -> None:
    for name in (
        "README.md",
        "README_zh.md",
        *(str(p) for p in (REPOSITORY / "docs").glob("*.md")),
    ):
        page = REPOSITORY / name
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{name}: {target}"


@pytest.mark.parametrize(
    ("name", "page", "rows"),
    [("fast", "README.md", 3 * 2), ("study", "docs/results.md", 2 * 3)],
)
def test_the_results_are_the_table_that_the_study_wrote(name: str, page: str, rows: int) -> None:
    written = (REPOSITORY / "docs" / "results" / f"{name}.md").read_text(encoding="utf-8")
    table = re.search(r"^## Categories\n\n((?:\|.*\n)+)", written, re.M)
    assert table and table[1].count("\n") == 2 + rows
    assert table[1] in (REPOSITORY / page).read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("program", ["tried_recipes.py", "ablations.py"])
def test_a_table_of_results_is_the_one_that_the_figures_make(program: str) -> None:
    command = [sys.executable, str(REPOSITORY / "benchmarks" / program), "print"]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert table.count("\n") > 2
    assert table in (REPOSITORY / "docs" / "results.md").read_text(encoding="utf-8")
