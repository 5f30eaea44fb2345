"""A copy of ``test_tipc`` to run in, without its data and outputs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = REPOSITORY / "test_tipc" / "configs" / "SSPCAB_ResNet18"

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


def copy_of_test_tipc(root: Path) -> Path:
    """Makes ``root`` a repository with the scripts, and with the folders they call."""
    shutil.copytree(
        REPOSITORY / "test_tipc",
        root / "test_tipc",
        ignore=shutil.ignore_patterns("data", "output", "results"),
    )
    # A copy, because `..` of a link would be the real repository.
    shutil.copytree(REPOSITORY / "deploy", root / "deploy")
    for folder in ("configs", "ppcls_sspcab", "tools"):
        (root / folder).symlink_to(REPOSITORY / folder)
    return root


def parameters(name: str, changes: Mapping[int, str] | None = None) -> str:
    """A parameter file's text, with some lines replaced; the lines count from 0."""
    text = (CONFIGS / name).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip()]
    for number, line in (changes or {}).items():
        lines[number] = line
    return "\n".join(lines) + "\n"


def bash(
    root: Path, script: str, text: str, *words: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a script of ``test_tipc`` with the parameter file ``text``."""
    path = root / "parameters.txt"
    path.write_text(text, encoding="utf-8")
    return subprocess.run(
        ["bash", f"test_tipc/{script}", str(path), *words],
        cwd=root,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
