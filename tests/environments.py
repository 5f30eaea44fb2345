"""Environments of a few distributions, made without a registry."""

from __future__ import annotations

import importlib.metadata
import venv
from pathlib import Path

from packaging.requirements import Requirement


def environment_of(folder: Path, *distributions: str) -> Path:
    """An environment of a few distributions and what they require, linked from this one.

    Returns:
        its Python.
    """
    venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
    packages = site_packages(folder)
    waiting, taken = list(distributions), set()
    while waiting:
        name = waiting.pop()
        if name in taken:
            continue
        taken.add(name)
        found = importlib.metadata.distribution(name)
        for part in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            if not (packages / part).exists():
                (packages / part).symlink_to(found.locate_file(part))
        for requirement in map(Requirement, found.requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return folder / "bin" / "python"


def site_packages(environment: Path) -> Path:
    """Where an environment's packages lie."""
    (folder,) = environment.glob("lib/python*/site-packages")
    return folder
