"""One run of a study, in a process of its own: ``python -m ppcls_sspcab.study.run FOLDER``.

Its own process makes the peak of memory that run's alone, and its failure no other's. It holds
the lock on the folder as long as it lives.
"""

from __future__ import annotations

import sys
import time
import traceback
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from ppcls_sspcab.errors import OutputError, UserError
from ppcls_sspcab.paths import StudyRunFolder
from ppcls_sspcab.study.state import (
    DONE,
    FAILED,
    INTERRUPTED,
    RUNNING,
    is_done,
    read_state,
    write_state,
)
from ppcls_sspcab.utils.lock import folder_lock
from ppcls_sspcab.utils.machine import peak_memory_mib
from ppcls_sspcab.utils.program import run_program

EXIT_CODES = {DONE: 0, FAILED: 1, INTERRUPTED: 130}
TAKEN = 75  # exit code: another process holds the folder, or has done the run


def main(path: Path) -> int:
    """Trains and evaluates what ``run.yaml`` in the folder says, and writes ``run.json``.

    Returns:
        the exit code: that of ``EXIT_CODES``, or ``TAKEN``.
    """
    folder = StudyRunFolder(str(path.parent), path.name)
    with ExitStack() as held:
        try:
            held.enter_context(folder_lock(folder.root))
        except OutputError as error:
            print(error, file=sys.stderr)
            return TAKEN
        return TAKEN if is_done(folder) else EXIT_CODES[_attempt(folder)]


def _attempt(folder: StudyRunFolder) -> str:
    """Runs it, notes how that went, and returns the state."""
    write_state(folder, state=RUNNING, error=None)
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
    write_state(
        folder,
        state=outcome,
        error=" ".join(error.split()) if error else None,
        finished=time.time(),
        seconds=round(read_state(folder).get("seconds", 0.0) + time.perf_counter() - started, 2),
        peak_memory_mb=None if peak is None else round(peak, 1),
        peak_gpu_memory_mb=_peak_gpu_memory_mib(),
    )
    return outcome


def _train_and_evaluate(folder: StudyRunFolder) -> None:
    from ppcls_sspcab.config.load import load_config
    from ppcls_sspcab.utils.paddle_import import import_paddle

    import_paddle()
    from ppcls_sspcab.engine.engine import Engine

    config = load_config(folder.run_config)
    if folder.checkpoint("latest").is_file():
        config = config.with_values(checkpoints="latest")
    Engine(config, "train").train()
    Engine(config, "eval").eval()


def _peak_gpu_memory_mib() -> float | None:
    paddle = sys.modules.get("paddle")
    if paddle is None or not paddle.device.get_device().startswith("gpu"):
        return None
    return round(paddle.device.cuda.max_memory_allocated() / (1 << 20), 1)


if __name__ == "__main__":
    sys.exit(run_program(partial(main, Path(sys.argv[1]))))
