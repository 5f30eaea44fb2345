"""``benchmarks/serve.py`` runs, and its tables hold figures."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from served import picture

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "serve.py"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "firsts"),
    [
        (["--seconds", "0.3", "--rounds", "1"], ["1", "8", "64", "in step", "by chance"]),
        (["--requests", "100"], ["10", "100"]),
    ],
)
def test_the_command_runs_and_its_tables_parse(
    model: Path, tmp_path: Path, words: list[str], firsts: list[str]
) -> None:
    (tmp_path / "pictures").mkdir()
    for value in (10, 200):
        (tmp_path / "pictures" / f"{value}.png").write_bytes(picture(value))
    command = [sys.executable, str(BENCHMARK), "--model", str(model), *words]
    command += ["--pictures", str(tmp_path / "pictures"), "--output", str(tmp_path / "table.md")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line[1:-1].split("|")]
        for line in re.findall(r"^\|.*\|$", text, re.M)
    ]
    assert set(firsts) <= {row[0] for row in rows}
    assert str(tmp_path) not in text
    for row in rows:
        if row[0] in firsts:
            assert all(float(cell) > 0 for cell in row[1:2])
