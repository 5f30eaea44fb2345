"""Writing files so that a final name never holds half a file."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ppcls_sspcab.errors import OutputError

_REASONS = {
    errno.ENOSPC: "the disk is full: free some space and run again",
    errno.EDQUOT: "the disk quota is used up: free some space and run again",
    errno.EFBIG: "the file is larger than its file system, or ulimit -f, allows",
    errno.EROFS: "the file system is read-only: choose another place",
    errno.EACCES: "no permission: choose another place, or change its owner or mode",
    errno.EPERM: "no permission: choose another place, or change its owner or mode",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EEXIST: "a part of the path is a file, not a folder",
    errno.EISDIR: "a folder has this name",
    errno.ENAMETOOLONG: "the name is too long",
    errno.EIO: "the disk reports a failure",
}


@contextmanager
def naming_output(path: str | os.PathLike[str]) -> Iterator[None]:
    """Context in which what keeps ``path`` from being written becomes an OutputError.

    Raises:
        OutputError: the disk is full, read-only and the like; whatever else is raised passes.
    """
    try:
        yield
    except Exception as error:
        reason = why_not_written(error)
        if reason is None:
            raise
        raise OutputError(f"{path}: cannot be written: {reason}") from error


def why_not_written(error: Exception) -> str | None:
    """The reason and the way out, for an error of the system's file functions; else None."""
    code = error.errno if isinstance(error, OSError) else None
    # Libraries that write through Rust keep the system's error only as text.
    found = re.search(r"\(os error (\d+)\)", str(error)) if code is None else None
    return _REASONS.get(int(found[1]) if found else code or 0)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary path in the same folder and renames it to ``path`` when the block ends.

    If the block raises, the temporary file is removed and whatever was at ``path`` stays. A device
    or a pipe (``/dev/stdout``) cannot be replaced: its own path is given.

    Raises:
        OutputError: as :func:`naming_output`.
    """
    target = Path(path)
    with naming_output(target):
        if target.exists() and not target.is_file() and not target.is_dir():
            yield target
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{target.stem[:50]}-"  # of up to four bytes a character
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=prefix, suffix=".part")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.chmod(0o644)
            temporary.replace(target)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise


def atomic_write(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Writes text (UTF-8) or bytes to ``path``, whole or not at all.

    Names of files need not be text: their bytes are written as they are (``surrogateescape``).

    Raises:
        OutputError: as :func:`naming_output`.
    """
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: str | os.PathLike[str], values: Any) -> None:
    """Writes values as indented JSON, as :func:`atomic_write` does.

    Raises:
        OutputError: as :func:`naming_output`.
        ValueError: NaN or an infinity, which JSON does not know.
    """
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    atomic_write(path, text + "\n")


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, as hexadecimal text."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives an empty folder beside ``path`` which takes its place, whole, when the block ends.

    If the block raises, the new folder is removed and whatever was at ``path`` stays. On Linux
    old and new change places in one step, so a kill leaves one or the other; elsewhere the old one
    is moved away first.

    Raises:
        OutputError: as :func:`naming_output`.
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
    working_folder, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    paths = (working_folder, os.fsencode(first), working_folder, os.fsencode(second))
    return renameat2(*paths, exchange) == 0
