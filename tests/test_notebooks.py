"""The notebooks run from an empty folder, and hold no outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
LEFT_BEHIND = {
    "deployment": ["model/inference.json", "model/model.onnx"],
    "own_pictures": ["output/housing/report.html", "output/housing/detector.safetensors"],
    "plugin": ["cluster_density.py", "model/inference.yml"],
}


def test_there_are_three() -> None:
    assert [path.stem for path in NOTEBOOKS] == sorted(LEFT_BEHIND)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path: Path) -> None:
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    for cell in book.cells:
        assert cell.cell_type == "markdown" or (not cell.outputs and cell.execution_count is None)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    book = nbformat.read(path, as_version=4)
    (settings,) = (cell for cell in book.cells if "parameters" in cell.metadata.get("tags", []))
    settings.source = "steps, size = 2, 32"
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(book, timeout=600, kernel_name="python3", resources=resources).execute()
    for name in LEFT_BEHIND[path.stem]:
        assert (tmp_path / name).is_file(), name
