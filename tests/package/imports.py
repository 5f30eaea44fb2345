"""What a module of the package imports, found in its text."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "ppcls_sspcab"


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(path): path for path in sorted((ROOT / PACKAGE).rglob("*.py"))}


def imports(module: str) -> Iterator[str]:
    """Full names of the modules that a module imports, also within functions.

    Not those for the type checker alone, and none of the standard library.
    """
    waiting: list[ast.AST] = [ast.parse(MODULES[module].read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{module}: a relative import"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in inner]
        for name in names:
            if name.partition(".")[0] not in sys.stdlib_module_names:
                yield name


def reached(*modules: str) -> set[str]:
    """The modules of the package that some of them import, one over the other, themselves too."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += [name for name in imports(module) if name in MODULES]
    return found


def libraries(modules: set[str]) -> set[str]:
    """Top names of all that they import from outside of the package."""
    names = {name.partition(".")[0] for module in modules for name in imports(module)}
    return names - {PACKAGE}
