"""One process at a time in an output folder, and nothing left there by runs that were killed."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from ppcls_sspcab.errors import OutputError
from ppcls_sspcab.paths import HOLDER_FILE, LOCK_FILE, RunFolder
from ppcls_sspcab.utils.files import naming_output
from ppcls_sspcab.utils.logger import get_logger

# What a file system without locks answers.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


def try_lock(path: str | os.PathLike[str]) -> BaseFileLock | None:
    """Takes the lock whose file is ``path``, without waiting; missing folders are made.

    The kernel holds it and ends it with this process, however that dies; processes that this one
    forks do not keep it. The file stays. Where the file system has no locks, one is handed out
    to everybody, with a warning.

    Returns:
        the lock, for its ``release()``; None while another process, or another call in this one,
        holds it.

    Raises:
        OutputError: the file cannot be written.
    """
    lock = FileLock(path, blocking=False, thread_local=False, fallback_to_soft=False)
    with naming_output(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            return None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            get_logger().warning(
                f"{path}: this file system has no locks ({error.strerror}); going on without"
            )
    return lock


_held: set[Path] = set()


@contextmanager
def folder_lock(folder: str | os.PathLike[str]) -> Iterator[None]:
    """While the block runs, the folder is this process's own; unfinished files are removed first.

    A process that holds the folder may enter again: PaddleClas's engine evaluates in the midst of
    training. The lock is that of :func:`try_lock` on ``.lock`` in the folder; a file beside it
    names the holder.

    Raises:
        OutputError: another run holds the folder (it is named), or it cannot be written.
    """
    place = Path(folder).absolute()
    if place in _held:
        yield
        return
    lock, holder = try_lock(place / LOCK_FILE), place / HOLDER_FILE
    if lock is None:
        raise OutputError(_taken(place, holder))
    _held.add(place)
    try:
        with naming_output(holder):
            holder.write_text(_myself(), encoding="utf-8", errors="surrogateescape")
        _remove_unfinished(place)
        yield
    finally:
        _held.discard(place)
        with suppress(OSError):
            holder.unlink()
        lock.release()


def _taken(folder: Path, holder: Path) -> str:
    name = "another run"
    with suppress(OSError):
        name = holder.read_text(encoding="utf-8", errors="replace") or name
    return (
        f"{folder}: another run is writing there ({name}); wait for it, or set another "
        "Global.output_dir"
    )


def _myself() -> str:
    started = datetime.now().strftime("%Y/%m/%d %H:%M:%S")
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])[:1000]
    return f"pid {os.getpid()} on {socket.gethostname()} since {started}: {command}"


def _remove_unfinished(folder: Path) -> None:
    for pattern in RunFolder.UNFINISHED:
        for path in folder.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink()
