"""The structure that docs/design.md describes is the structure that there is."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli", reason="Python 3.10 reads no TOML by itself")

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "ppcls_sspcab"
PAGE = (REPOSITORY / "docs" / "design.md").read_text(encoding="utf-8")
LONGEST_FILE, LONGEST_FUNCTION, MOST_STEPS = 400, 50, 12
FILES = [
    path
    for folder in ("ppcls_sspcab", "benchmarks", "tools", "deploy", "test_tipc")
    for path in sorted((REPOSITORY / folder).rglob("*.py"))
]


def layers() -> list[list[str]]:
    """Rooms from the top down, as the linter's table has them."""
    tables = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (c for c in tables["tool"]["importlinter"]["contracts"] if c["id"] == "rooms")
    return [[room.strip() for room in layer.split("|")] for layer in contract["layers"]]


def test_rooms_import_only_rooms_below_them() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    if not program.exists():
        pytest.skip("import-linter is not installed")
    done = subprocess.run(
        [str(program)], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_page_has_the_table_of_the_linter() -> None:
    rows = re.findall(r"^\| (`[^|]+) \|", PAGE, re.MULTILINE)
    described = [re.findall(r"`(\w+)`", row) for row in rows]
    assert described == [layer for layer in layers() if layer != ["__main__"]]


def test_every_room_is_there() -> None:
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    rooms = {room for layer in layers() for room in layer}
    assert found - {"__init__", "__pycache__"} == rooms


def ways() -> dict[str, list[str]]:
    """The steps of each way that a picture goes, by its first words."""
    section = PAGE.split("## A picture's way")[1].split("\n## ")[0]
    found: dict[str, list[str]] = {}
    for block in re.split(r"\n\n(?=[A-Z])", section):
        title, _, steps = block.strip().partition("\n\n")
        found[title.split(",")[0]] = re.findall(r"^\d+\. (.*(?:\n   .*)*)", steps, re.MULTILINE)
    return found


@pytest.mark.parametrize("way", ["Training", "Predicting", "Deployed"])
def test_a_way_has_few_steps(way: str) -> None:
    assert 5 <= len(ways()[way]) <= MOST_STEPS


def test_what_the_page_names_is_there() -> None:
    named = re.findall(r"`([\w/]+\.py): ([\w.]+)`", PAGE)
    assert len(named) > 30
    for file, name in named:
        scope: ast.AST = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
        for part in name.split("."):
            inside = {getattr(node, "name", None): node for node in ast.iter_child_nodes(scope)}
            assert part in inside, f"{file} has no {name}"
            scope = inside[part]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = node.body[-1].end_lineno - node.lineno + 1
            if ast.get_docstring(node):
                first = node.body[0]
                lines -= first.end_lineno - first.lineno + 1
            assert lines <= LONGEST_FUNCTION, f"{node.name} has {lines} lines"
            assert body or ast.get_docstring(node)
