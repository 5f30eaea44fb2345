"""One run at a time in an output folder, and nothing left there by runs that were killed."""

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

from ppcls_sspcab.errors import OutputError
from ppcls_sspcab.paths import RunFolder
from ppcls_sspcab.utils.files import naming_output
from ppcls_sspcab.utils.logger import get_logger

try:
    import fcntl
except ImportError:  # Windows, where a folder is not guarded
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".lock"

_TAKEN = (errno.EACCES, errno.EAGAIN)

_held: set[Path] = set()


@contextmanager
def folder_lock(folder: str | os.PathLike[str]) -> Iterator[None]:
    """While the block runs, the folder is this process's own; unfinished files are removed first.

    The kernel holds the lock and ends it with the process, however that dies; the file ``.lock``
    stays and names the holder. It is a POSIX record lock, which forked reader processes do not
    inherit, and which network file systems pass on to other machines. A process that holds the
    folder may enter again: PaddleClas's engine evaluates in the midst of training.

    Raises:
        OutputError: another run holds the folder (it is named), or it cannot be written.
    """
    path = Path(folder).absolute() / LOCK_FILE
    if path in _held:
        yield
        return
    with naming_output(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    _held.add(path)
    try:
        _lock(handle, path)
        _remove_unfinished(path.parent)
        yield
        with suppress(OSError):
            os.ftruncate(handle, 0)
    finally:
        _held.discard(path)
        os.close(handle)


def _lock(handle: int, path: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            holder = os.pread(handle, 4096, 0).decode("utf-8", "replace").strip()
            raise OutputError(_taken(path.parent, holder or "another run")) from None
        get_logger().warning(f"{path}: this file system has no locks ({error}); going on without")
        return
    with naming_output(path):
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{_myself()}\n".encode("utf-8", "surrogateescape"), 0)


def _taken(folder: Path, holder: str) -> str:
    return (
        f"{folder}: another run is writing there ({holder}); wait for it, or set another "
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
