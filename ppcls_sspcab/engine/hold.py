"""The category's folder, held while a verb writes into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from ppcls_sspcab.utils.distributed import is_first
from ppcls_sspcab.utils.lock import folder_lock


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """While the block runs, no other run writes into the folder; the first of all ranks holds it.

    Raises:
        OutputError: another run holds it.
    """
    with folder_lock(folder) if is_first() else nullcontext():
        yield
