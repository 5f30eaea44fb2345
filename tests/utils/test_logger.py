"""The logger: a line a message, whatever names are in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppcls_sspcab.utils.logger import get_logger, log_file


def test_a_name_neither_forges_a_line_nor_drives_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "a\n[2026/01/01 00:00:00] detector saved\x1b[2J\x9b.png"
    with log_file(tmp_path / "train.log"):
        get_logger().warning(f"skipped {name}: is empty")
    console, file = capsys.readouterr().err, (tmp_path / "train.log").read_text(encoding="utf-8")
    for text in (console, file):
        (line,) = text.splitlines()
        assert line.isprintable()
        assert line.endswith(r"saved\x1b[2J\x9b.png: is empty")
