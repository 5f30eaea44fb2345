"""One run at a time in a category's folder."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from ppcls_sspcab.utils.distributed import is_first
from ppcls_sspcab.utils.lock import folder_lock


def held(folder: Path) -> AbstractContextManager[None]:
    """While the block runs, no other run writes into the folder; the first of all ranks holds it.

    Raises:
        OutputError: another run holds it.
    """
    return folder_lock(folder) if is_first() else nullcontext()
