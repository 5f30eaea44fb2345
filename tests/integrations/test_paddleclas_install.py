"""Which names are put where, and what is refused. Each case needs a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

TWICE = """
import importlib, sys
from ppcls_sspcab.integrations.paddleclas import install
first = install()
objects = [getattr(importlib.import_module(entry.module), entry.name) for entry in first]
second = install()
assert first == second
for entry, known in zip(second, objects):
    assert getattr(importlib.import_module(entry.module), entry.name) is known, entry
import ppcls.arch, ppcls.engine.engine as engine, ppcls.loss, ppcls.data.preprocess
assert engine.build_model is ppcls.arch.build_model
assert ppcls.loss.CELoss.__module__ == "ppcls.loss.celoss"
assert ppcls.data.preprocess.ColorJitter.__module__.startswith("ppcls.")
assert "paddleclas" not in sys.modules
for entry in first:
    print("|", f"`{entry.name}`", "|", f"`{entry.module}`", "|", entry.how, "|", entry.used_by)
"""


@pytest.fixture
def python(paddleclas_home: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run_code(code: str, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PADDLECLAS_HOME": str(paddleclas_home),
            "PYTHONPATH": str(REPOSITORY),
            **more,
        }
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run_code


def test_a_second_install_changes_nothing_and_the_page_lists_every_name(
    python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    outcome = python(TWICE)
    assert outcome.returncode == 0, outcome.stderr
    page = (REPOSITORY / "docs" / "paddleclas.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \| `(ppcls[\w.]*)` \| (\w+) \|", page, re.M)
    printed = re.findall(r"^\| `(\w+)` \| `(ppcls[\w.]*)` \| (\w+) \|", outcome.stdout, re.M)
    assert len(printed) > 15
    assert listed == printed


def test_a_name_that_is_paddleclas_s_own_is_not_overwritten(
    python: Callable[..., subprocess.CompletedProcess[str]], paddleclas_home: Path
) -> None:
    code = """
import ppcls.loss
class SSPCABLoss: pass
ppcls.loss.SSPCABLoss = SSPCABLoss
from ppcls_sspcab.integrations.paddleclas import install
try:
    install()
except Exception as error:
    print(type(error).__name__, error)
assert ppcls.loss.SSPCABLoss is SSPCABLoss
"""
    outcome = python(code, PYTHONPATH=f"{REPOSITORY}{os.pathsep}{paddleclas_home}")
    assert outcome.returncode == 0, outcome.stderr
    assert "UserError" in outcome.stdout
    assert "ppcls.loss has a 'SSPCABLoss' of its own" in outcome.stdout


def test_a_process_uses_one_paddleclas_only(
    python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    code = """
import sys, types
sys.modules["paddleclas.ppcls"] = types.ModuleType("paddleclas.ppcls")
from ppcls_sspcab.integrations.paddleclas import install
from ppcls_sspcab.errors import UserError
try:
    install()
except UserError as error:
    print(error)
assert "ppcls" not in sys.modules
"""
    outcome = python(code)
    assert outcome.returncode == 0, outcome.stderr
    assert "two PaddleClas" in outcome.stdout


def test_a_home_without_paddleclas_is_named(
    python: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    module = "ppcls_sspcab.integrations.paddleclas.__main__"
    code = f"import sys; from {module} import main; sys.exit(main(['list']))"
    outcome = python(code, PADDLECLAS_HOME=str(tmp_path))
    assert outcome.returncode == 2
    assert outcome.stderr.strip() == (
        f"error: PADDLECLAS_HOME={tmp_path}: there is no folder 'ppcls' in it"
    )
