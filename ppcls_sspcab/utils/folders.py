"""Writing folders so that a final name never holds half of one."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ppcls_sspcab.utils.files import naming_output

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives an empty folder beside ``path`` which takes its place, whole, when the block ends.

    If the block raises, the new folder is removed and whatever was at ``path`` stays. On Linux
    old and new change places in one step, so a kill leaves one or the other; elsewhere the old one
    is moved away first.

    Raises:
        OutputError: as :func:`ppcls_sspcab.utils.files.naming_output`.
    """
    target = Path(path).absolute()
    with naming_output(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{target.name}-"
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=prefix, suffix=".part"))
        try:
            temporary.chmod(0o755)
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    with file.open("rb") as written:
                        os.fsync(written.fileno())
            _take_place(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _take_place(new: Path, target: Path) -> None:
    if not target.exists():
        new.rename(target)
    elif not _exchange(new, target):
        old = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-", suffix=".old"))
        target.rename(old / target.name)
        new.rename(target)
        shutil.rmtree(old)


def _exchange(first: Path, second: Path) -> bool:
    """Whether the two paths could change places by Linux's renameat2."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    paths = (_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second))
    return renameat2(*paths, _RENAME_EXCHANGE) == 0
