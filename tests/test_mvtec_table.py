"""The recipes for MVTec AD, and their table beside the published figures."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from ppcls_sspcab.config.load import load_config

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "mvtec_table", REPOSITORY / "benchmarks" / "mvtec_table.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name, steps", [("paper", 256 * 256), ("short", 10_000)])
def test_the_recipes_have_the_length_of_the_papers(name: str, steps: int) -> None:
    config = load_config(REPOSITORY / "configs" / "mvtec" / f"{name}.yaml")
    assert config.Global.epochs * config.Global.iter_per_epoch == steps
    assert config.Global.model_selection == "last" and tuple(config.Preprocess.image_size) == (
        256,
        256,
    )


def test_the_published_means_are_those_of_their_categories(script: ModuleType) -> None:
    columns = json.loads(script.PUBLISHED.read_text())["columns"]
    assert len(columns) == 4
    for column in columns:
        assert len(column["categories"]) == 15 and column["source"]
        mean = sum(column["categories"].values()) / 15
        assert mean == pytest.approx(column["mean"], abs=0.1)  # one column rounds down


def test_the_table_shows_what_there_is(script: ModuleType, tmp_path: Path) -> None:
    def row(category: str, auroc: float | None, std: float | None, done: int = 1) -> dict:
        return {
            "config": "short",
            "category": category,
            "image_auroc": auroc,
            "image_auroc_std": std,
            "done": done,
        }

    found = {
        "rows": [row("bottle", 0.9871, 0.0123), row("cable", None, None)],
        "means": [row("mean", 0.9871, 0.0123)],
    }
    (tmp_path / "study.json").write_text(json.dumps(found))
    text = script.table(tmp_path)
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if "|" in line}
    cells = {name: [cell.strip() for cell in line.split("|")[2:-1]] for name, line in lines.items()}
    assert cells["bottle"] == ["98.3", "98.6", "99.4", "99.6", "98.7 ± 1.2"]
    assert cells["cable"][-1] == "–" and cells["zipper"][-1] == "–"
    assert cells["mean"] == ["95.2", "96.1", "96.9", "91.0", "–"]
    assert "picked on the test set" in text
