"""One run of a benchmark, in a process of its own: ``python -m ppcls_sspcab.study.run``.

Its own process makes the peak of memory that run's alone, and its failure no other's.
"""

from __future__ import annotations

import json
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from ppcls_sspcab.errors import UserError
from ppcls_sspcab.utils.files import atomic_write
from ppcls_sspcab.utils.machine import peak_memory_mib
from ppcls_sspcab.utils.program import run_program

CONFIG = "run.yaml"
STATE = "run.json"
DONE, FAILED, RUNNING, INTERRUPTED = "done", "failed", "running", "interrupted"


def read_state(folder: Path) -> dict[str, Any]:
    """What is known of the run in a folder; empty before its first start.

    Keys: ``state``, ``error`` (one line, or None), ``finished`` (seconds since 1970), ``seconds``
    (all attempts that ended by themselves), ``peak_memory_mb``, ``peak_gpu_memory_mb`` (None on a
    CPU).
    """
    try:
        return json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def write_state(folder: Path, **values: Any) -> None:
    """Replaces what :func:`read_state` gives by the same with other values."""
    state = {**read_state(folder), **values}
    atomic_write(folder / STATE, json.dumps(state, indent=2, ensure_ascii=False) + "\n")


def main(folder: Path) -> int:
    """Trains and evaluates what ``run.yaml`` in the folder says, and writes ``run.json``.

    Returns:
        the exit code: 0 done, 1 failed, 130 interrupted.
    """
    # A shell that started the study in the background has switched it off.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    started = time.perf_counter()
    outcome, error = FAILED, None
    try:
        _train_and_evaluate(folder)
        outcome = DONE
    except KeyboardInterrupt:
        outcome = INTERRUPTED
    except UserError as problem:
        error = str(problem)
    except Exception as problem:
        traceback.print_exc()
        error = f"{type(problem).__name__}: {problem}"
    peak = peak_memory_mib()
    seconds = read_state(folder).get("seconds", 0.0) + time.perf_counter() - started
    write_state(
        folder,
        state=outcome,
        error=" ".join(error.split()) if error else None,
        finished=time.time(),
        seconds=round(seconds, 2),
        peak_memory_mb=None if peak is None else round(peak, 1),
        peak_gpu_memory_mb=_peak_gpu_memory_mb(),
    )
    return {DONE: 0, FAILED: 1, INTERRUPTED: 130}[outcome]


def _train_and_evaluate(folder: Path) -> None:
    from ppcls_sspcab.config.load import load_config
    from ppcls_sspcab.utils.paddle_import import import_paddle

    import_paddle()
    from ppcls_sspcab.engine.engine import Engine

    config = load_config(folder / CONFIG)
    if (folder / "checkpoints" / "latest.safetensors").is_file():
        config = config.with_values(checkpoints="latest")
    Engine(config, "train").train()
    Engine(config, "eval").eval()


def _peak_gpu_memory_mb() -> float | None:
    paddle = sys.modules.get("paddle")
    if paddle is None or not paddle.device.get_device().startswith("gpu"):
        return None
    return round(paddle.device.cuda.max_memory_allocated() / (1 << 20), 1)


if __name__ == "__main__":
    sys.exit(run_program(lambda: main(Path(sys.argv[1]))))
