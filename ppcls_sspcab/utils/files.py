"""Writing files so that a final name never holds half a file."""

from __future__ import annotations

import ctypes
import errno
import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from ppcls_sspcab.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

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
    errno.EBUSY: "it is a mount point or in use: choose another place",
    errno.EPIPE: "what was reading it has gone",
    errno.EIO: "the disk reports a failure",
}


_MOST_LINKS = 40  # as many as the kernel follows


LEAST_AGE = 10.0  # seconds from which on a temporary file without a lock is abandoned


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

    If the block raises, the temporary file is removed and whatever was at ``path`` stays. Of a
    link, what it names is written. What cannot be replaced, since it is a device, a pipe, a mount
    or in a folder that is read-only, is written when the block ends.

    Raises:
        OutputError: as :func:`naming_output`.
    """
    target = Path(path)
    with naming_output(target):
        final = Path(os.path.realpath(target))
        temporary = None if is_stream(target) else _beside(final, tempfile.mkstemp)
        in_place = temporary is None
        if temporary is None:
            temporary = _made(tempfile.mkstemp, Path(tempfile.gettempdir()), "ppcls_sspcab-")
        try:
            with _in_use(temporary):
                yield temporary
                with temporary.open("rb") as written:
                    os.fsync(written.fileno())
                temporary.chmod(0o644)
                if in_place or not _replaced(temporary, final):
                    with temporary.open("rb") as source, target.open("wb") as stream:
                        shutil.copyfileobj(source, stream)
        finally:
            with suppress(OSError):
                temporary.unlink()


@contextmanager
def records_file(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """A text file (UTF-8) that is written for long, and appears under its name when it is whole.

    Until then it is ``<path>.part``, which stays when the block raises or the process is killed,
    and is written anew the next time. A device or a pipe, and a file in a folder that is
    read-only, gets what is written at once.

    Raises:
        OutputError: as :func:`naming_output`.
    """
    target = Path(path)
    with naming_output(target):
        final = Path(os.path.realpath(target))
        part = final.with_name(f"{final.name}.part")
        try:
            if is_stream(target):
                raise PermissionError(errno.EACCES, "is written at once")
            final.parent.mkdir(parents=True, exist_ok=True)
            stream = _text(part)
        except OSError:
            if not (target.exists() and os.access(target, os.W_OK)):
                raise
            with _text(target) as stream:
                yield stream
            return
        try:
            with stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
        except BaseException:
            with suppress(OSError):
                if part.stat().st_size == 0:
                    part.unlink()
            raise
        if not _replaced(part, final):
            shutil.copyfile(part, final)
            part.unlink()


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Whether nothing can take the path's place: a device, a pipe, or a process's open file.

    The last is what ``/dev/stdout`` is a link to.
    """
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        return True
    link = Path(path)
    for _ in range(_MOST_LINKS):
        if not link.is_symlink():
            return False
        if link.parent.resolve().parts[1:2] == ("proc",):
            return True
        link = link.parent / os.readlink(link)
    return False


def _text(path: Path) -> TextIO:
    # Names of files need not be text: surrogateescape writes their bytes as they are.
    return path.open("w", encoding="utf-8", errors="surrogateescape", newline="")


def _beside(target: Path, make: Callable[..., Any]) -> Path | None:
    """A new temporary file or folder beside the target; None where only the target is writable.

    What killed processes left there of the same target is removed.
    """
    prefix = f".{target.stem[:50]}-"  # of up to four bytes a character
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        made = _made(make, target.parent, prefix)
    except OSError:
        if target.exists() and os.access(target, os.W_OK):
            return None
        raise
    for old in target.parent.glob(f"{glob.escape(prefix)}*.part"):
        if old != made:
            _remove_abandoned(old)
    return made


def _made(make: Callable[..., Any], folder: Path, prefix: str) -> Path:
    made = make(dir=folder, prefix=prefix, suffix=".part")
    if isinstance(made, str):
        return Path(made)
    os.close(made[0])
    return Path(made[1])


@contextmanager
def _in_use(path: Path) -> Iterator[None]:
    """While the block runs, other processes leave this temporary file or folder alone."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _remove_abandoned(path: Path) -> None:
    """Removes a temporary file or folder that no living process is writing."""
    if fcntl is None:
        return
    with suppress(OSError):
        # One that is just being made has no lock yet.
        if time.time() - path.stat().st_mtime < LEAST_AGE:
            return
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        finally:
            os.close(descriptor)


def _replaced(new: Path, target: Path) -> bool:
    """Whether the new one took the target's place; False for a mount, which cannot be renamed."""
    try:
        new.replace(target)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EXDEV):
            raise
        return False
    return True


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
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # names of files need not be text; JSON must be
        text = json.dumps(values, indent=2, allow_nan=False)
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
    is moved away first. Of a link, the folder that it names is replaced. A mount, or a folder in
    a read-only one, cannot be replaced: its content is, file after file.

    Raises:
        OutputError: as :func:`naming_output`.
    """
    target = Path(os.path.realpath(path))
    with naming_output(target):
        temporary = _beside(target, tempfile.mkdtemp)
        in_place = temporary is None
        if temporary is None:
            temporary = Path(tempfile.mkdtemp(prefix="ppcls_sspcab-", suffix=".part"))
        try:
            with _in_use(temporary):
                temporary.chmod(0o755)
                yield temporary
                for file in temporary.rglob("*"):
                    if file.is_file():
                        with file.open("rb") as written:
                            os.fsync(written.fileno())
                if in_place or not _took_place(temporary, target):
                    _fill(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _took_place(new: Path, target: Path) -> bool:
    """Whether the new folder took the target's place; False for a mount."""
    if not target.exists():
        new.rename(target)
    elif not _exchange(new, target):
        old = Path(
            tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name[:50]}-", suffix=".old")
        )
        if not _replaced(target, old / target.name):
            old.rmdir()
            return False
        new.rename(target)
        shutil.rmtree(old)
    return True


def _fill(new: Path, target: Path) -> None:
    """Gives a folder the content of another one."""
    for old in target.iterdir():
        shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
    shutil.copytree(new, target, dirs_exist_ok=True)


def _exchange(first: Path, second: Path) -> bool:
    """Whether the two paths could change places by Linux's renameat2."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    working_folder, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    paths = (working_folder, os.fsencode(first), working_folder, os.fsencode(second))
    return renameat2(*paths, exchange) == 0
