"""What the tests of this folder share beside fixtures."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def environment(home: Path, **more: str) -> dict[str, str]:
    """Variables for a process that uses the PaddleClas at ``home``."""
    path = os.pathsep.join([str(REPOSITORY), more.pop("PYTHONPATH", "")])
    return {
        **os.environ,
        "PADDLECLAS_HOME": str(home),
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": "1",
        **more,
    }
