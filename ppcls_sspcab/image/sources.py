"""What a user gives to be scored: one picture or many, and the files that paths stand for."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppcls_sspcab.errors import DataError
from ppcls_sspcab.image.decode import EXTENSIONS, Source
from ppcls_sspcab.utils.logger import get_logger

_OF_SYSTEMS = ("__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information")


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


def find_pictures(inputs: Sequence[str], without: Collection[Path] = ()) -> list[str]:
    """The pictures that files, folders, glob patterns and ``.txt`` lists stand for.

    A folder is searched as :func:`pictures_below` does. A list holds one path a line, relative to
    the list's folder; empty lines do not count. Whether a picture can be read is not looked at.

    Args:
        without: folders that are not searched.

    Raises:
        DataError: an input that stands for nothing, or a folder that may not be listed.
    """
    return [path for text in inputs for path in _stands_for(text, without)]


def pictures_below(
    folder: Path, subfolders: bool = True, without: Collection[Path] = ()
) -> list[Path]:
    """The pictures in a folder, by their suffix, sorted; what data sets and ``predict`` see alike.

    Subfolders and links to folders are gone through, each once. Hidden names, and folders that
    systems and archivers add (``__MACOSX``), are left out. A broken link counts as a picture.
    What is left out is counted, and the log says it.

    Args:
        subfolders: False leaves them out.
        without: folders that are for something else; they are not counted either.

    Raises:
        DataError: a folder that may not be listed.
    """
    found, left_out = search(folder, subfolders, without)
    if left_out:
        counted = ", ".join(f"{count} {kind}" for kind, count in sorted(left_out.items()))
        get_logger().warning(f"{folder}: {len(found)} pictures; left out: {counted}")
    return found


def search(
    folder: Path, subfolders: bool, without: Collection[Path]
) -> tuple[list[Path], Counter[str]]:
    """The pictures of :func:`pictures_below`, and how many of what kind are left out."""
    found: list[Path] = []
    left_out: Counter[str] = Counter()
    other = {os.path.realpath(path) for path in without}
    seen: set[str] = set()

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: the folder cannot be read ({error.strerror})")

    for place, below, names in os.walk(folder, onerror=refuse, followlinks=True):
        seen.add(os.path.realpath(place))
        entered = []
        for name in sorted(below):
            real = os.path.realpath(os.path.join(place, name))
            if real in other:
                continue
            if is_hidden(name):
                left_out["hidden"] += 1
            elif not subfolders:
                left_out["subfolders"] += 1
            elif real in seen:
                left_out["links to folders that were seen"] += 1
            else:
                seen.add(real)
                entered.append(name)
        below[:] = entered
        for name in names:
            suffix = os.path.splitext(name)[1].lower()
            if suffix not in EXTENSIONS:
                left_out[suffix or "without suffix"] += not is_hidden(name)
            elif is_hidden(name):
                left_out["hidden"] += 1
            else:
                found.append(Path(place, name))
    return sorted(found, key=str), +left_out


def is_hidden(name: str) -> bool:
    """Whether a file or folder is no part of the data: hidden, or made by a system."""
    return name.startswith(".") or name in _OF_SYSTEMS


def _stands_for(text: str, without: Collection[Path]) -> list[str]:
    path = Path(text)
    if path.is_dir():
        found = [str(file) for file in pictures_below(path, without=without)]
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
    matching = sorted(glob.glob(text, recursive=True))
    found = [name for name in matching if not Path(name).is_dir()]
    if not found:
        raise DataError(f"{text}: no such file or folder, and no file matches it")
    # With ** the pattern itself looks into folders.
    if len(found) < len(matching) and "**" not in text:
        folders = len(matching) - len(found)
        get_logger().warning(f"{text}: {len(found)} pictures; left out: {folders} folders")
    return found
