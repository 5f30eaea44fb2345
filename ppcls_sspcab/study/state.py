"""How far a run of a study is: what its ``run.json`` says."""

from __future__ import annotations

import json
from typing import Any

from ppcls_sspcab.paths import StudyRunFolder
from ppcls_sspcab.utils.files import write_json

DONE, FAILED, RUNNING, INTERRUPTED = "done", "failed", "running", "interrupted"


def read_state(folder: StudyRunFolder) -> dict[str, Any]:
    """What is known of a run; empty before its first start.

    Keys: ``state``, ``error`` (one line, or None), ``finished`` (seconds since 1970), ``seconds``
    (all attempts that ended by themselves), ``peak_memory_mb``, ``peak_gpu_memory_mb`` (MiB; None
    where unknown).
    """
    try:
        return json.loads(folder.run_state.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def write_state(folder: StudyRunFolder, **values: Any) -> None:
    """Replaces what :func:`read_state` gives by the same with other values."""
    state = {**read_state(folder), **values}
    write_json(folder.run_state, state)


def is_done(folder: StudyRunFolder) -> bool:
    """Whether a run has its results."""
    return read_state(folder).get("state") == DONE and folder.results_json.is_file()
