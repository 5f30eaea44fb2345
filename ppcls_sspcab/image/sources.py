"""What a user gives to be scored: one picture or many, and the files that paths stand for."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppcls_sspcab.errors import DataError
from ppcls_sspcab.image.decode import EXTENSIONS, Source


def as_pictures(given: Source | Iterable[Source]) -> Iterable[Source]:
    """The pictures that a user means: a single one is a list of one.

    Args:
        given: a path, the bytes of a file, a binary file object or an array [H, W] or [H, W, C]:
            one picture; an array [N, H, W, C]: N pictures; any other iterable: pictures already.
    """
    if isinstance(given, np.ndarray):
        return list(given) if given.ndim == 4 else [given]
    pictures: Any = given
    whole = isinstance(given, (str, bytes, bytearray, memoryview)) or hasattr(given, "read")
    return [pictures] if whole or not isinstance(given, Iterable) else pictures


def find_pictures(inputs: Sequence[str]) -> list[str]:
    """The pictures that files, folders, glob patterns and ``.txt`` lists stand for.

    A folder is searched through, subfolders as well, for names with a known extension that are
    not hidden, and sorted. A list holds one path a line, relative to the list's folder; empty
    lines do not count. Whether a picture can be read is not looked at.

    Raises:
        DataError: an input that stands for nothing.
    """
    return [path for text in inputs for path in _stands_for(text)]


def _stands_for(text: str) -> list[str]:
    path = Path(text)
    if path.is_dir():
        found = sorted(str(file) for file in path.rglob("*") if _is_picture(file, path))
        if not found:
            raise DataError(f"{text}: the folder holds no picture ({', '.join(EXTENSIONS)})")
        return found
    if path.suffix.lower() == ".txt" and path.is_file():
        try:
            with path.open(encoding="utf-8-sig") as stream:
                lines = [line.strip("\n\t ") for line in stream]
        except UnicodeDecodeError as error:
            raise DataError(f"{text}: a list of pictures must be UTF-8 text ({error})") from error
        found = [str(path.parent / line) for line in lines if line]
        if not found:
            raise DataError(f"{text}: the list is empty; it takes one path a line")
        return found
    # A name with brackets is a pattern only if there is no such file.
    if path.exists() or path.is_symlink():
        return [text]
    found = sorted(name for name in glob.glob(text, recursive=True) if not Path(name).is_dir())
    if not found:
        raise DataError(f"{text}: no such file or folder, and no file matches it")
    return found


def _is_picture(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.suffix.lower() in EXTENSIONS and not hidden and not file.is_dir()
