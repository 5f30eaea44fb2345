"""The one PaddleClas that this process uses: a checkout, or a wheel that holds its engine."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

from ppcls_sspcab.errors import UserError

HOME = "PADDLECLAS_HOME"
# The wheel's package and a checkout's are different modules, even where their files are equal.
_TREES = ("ppcls", "paddleclas.ppcls")
_bound: list[str] = []


def bind(home: str | os.PathLike[str] | None = None) -> str:
    """The package of PaddleClas, ``ppcls`` or ``paddleclas.ppcls``, the same in all the process.

    Args:
        home: folder that holds ``ppcls``; default the environment's ``PADDLECLAS_HOME``, else what
            is already loaded or on the path.

    Raises:
        UserError: no PaddleClas, a folder without one, or another one is already in use.
    """
    if _bound:
        return _bound[0]
    home = home or os.environ.get(HOME)
    loaded = [tree for tree in _TREES if tree in sys.modules]
    if len(loaded) > 1 or (home and "paddleclas.ppcls" in loaded):
        raise UserError(
            "two PaddleClas would be in use at once: this process has loaded paddleclas.ppcls; "
            "start a new one that does not import paddleclas"
        )
    if home and not loaded:
        if not (Path(home) / "ppcls").is_dir():
            raise UserError(f"{HOME}={home}: there is no folder 'ppcls' in it")
        sys.path.insert(0, str(Path(home).resolve()))
    _bound.append(_first_importable(loaded or list(_TREES)))
    return _bound[0]


def find_module(path: str) -> ModuleType | None:
    """A module of the bound tree (``data.preprocess``); None where this PaddleClas has none.

    Raises:
        UserError: it is there and cannot be imported.
    """
    name = f"{bind()}.{path}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            return None
        raise UserError(f"PaddleClas needs a package that is missing: {error}") from error
    except ImportError as error:
        raise UserError(f"PaddleClas cannot be imported: {error}") from error


def require_module(path: str) -> ModuleType:
    """:func:`find_module` that raises UserError if this PaddleClas has no such module."""
    module = find_module(path)
    if module is None:
        raise UserError(
            f"this PaddleClas has no {path} (its wheels after 2.4.0 hold networks only): set "
            f"{HOME} to a checkout"
        )
    return module


def _first_importable(trees: list[str]) -> str:
    reasons = []
    for tree in trees:
        try:
            importlib.import_module(f"{tree}.arch")
            return tree
        except (ImportError, OSError) as error:  # a missing libGL is an OSError
            reasons.append(str(error))
    raise UserError(
        f"PaddleClas cannot be imported ({'; '.join(reasons)}): set {HOME} to a checkout"
    )
