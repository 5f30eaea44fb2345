"""Runs one after the other on each device, shared with other commands on the same folder.

A run belongs to the process that holds the lock on its folder: its own process, which takes it
when it starts. Several commands may find the same run free and start it; all but one of its
processes then end at once, and their commands go on with the next run.
"""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from tqdm import tqdm

from ppcls_sspcab.paths import LOCK_FILE, StudyRunFolder
from ppcls_sspcab.study.device import environment_for
from ppcls_sspcab.study.plan import Run
from ppcls_sspcab.study.run import EXIT_CODES, TAKEN
from ppcls_sspcab.study.state import DONE, FAILED, INTERRUPTED, is_done, read_state, write_state
from ppcls_sspcab.utils.files import atomic_write
from ppcls_sspcab.utils.lock import try_lock
from ppcls_sspcab.utils.logger import get_logger

POLL = 0.5  # seconds between two looks at the runs
COMMAND = [sys.executable, "-m", "ppcls_sspcab.study.run"]  # and the run's folder


@dataclasses.dataclass(frozen=True)
class Started:
    """A run whose process this command has started."""

    run: Run
    device: str
    process: subprocess.Popen[bytes]


class Schedule:
    """Starts the runs that are open, as many at a time as there are devices.

    Args:
        runs: all of them, in the order in which they are started.
        devices: as :func:`ppcls_sspcab.study.device.check_device` takes them.
    """

    def __init__(self, runs: Sequence[Run], devices: Sequence[str]) -> None:
        self._began = time.time()
        self._total = len(runs)
        self._open = [run for run in runs if not is_done(run.folder)]
        self._idle = list(devices)
        self._started: list[Started] = []
        self._workers = len(devices)

    def work(self) -> None:
        """Returns when every run is done or has failed, here or by another command.

        Raises:
            KeyboardInterrupt: after Ctrl-C; the running ones have finished their step and saved.
        """
        done = self._total - len(self._open)
        get_logger().info(
            f"{self._total} runs, {done} of them done before, on {', '.join(self._idle)}"
        )
        # smoothing 0: long and short runs alternate, and only their average tells the time left.
        with tqdm(
            total=self._total, initial=done, desc="study", unit="run", smoothing=0, disable=None
        ) as bar:
            try:
                while self._open or self._started:
                    self._collect()
                    self._start()
                    bar.n = self._total - len(self._open) - len(self._started)
                    bar.refresh()
                    time.sleep(POLL)
            except BaseException:
                self._interrupt()
                raise

    def _start(self) -> None:
        """Starts, on each idle device, the first open run whose folder no process has locked."""
        for run in list(self._open):
            if not self._idle:
                return
            if is_done(run.folder) or self._has_failed(run):  # another command has finished it
                self._open.remove(run)
            elif not _is_held(run.folder):
                self._open.remove(run)
                self._started.append(self._launched(run, self._idle.pop(0)))

    def _launched(self, run: Run, device: str) -> Started:
        config = run.config
        if device != "auto":
            config = config.with_values(device=device.partition(":")[0])
        atomic_write(run.folder.run_config, config.to_yaml())
        with run.folder.run_log.open("ab") as log:
            # Its own session: Ctrl-C in the terminal must reach it once, and from here.
            process = subprocess.Popen(
                [*COMMAND, str(run.folder.root)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment_for(device, self._workers),
                start_new_session=True,
            )
        return Started(run, device, process)

    def _collect(self) -> None:
        """Takes back the devices of the runs that have ended."""
        for started in [one for one in self._started if one.process.poll() is not None]:
            self._started.remove(started)
            self._idle.append(started.device)
            if started.process.returncode == TAKEN:
                self._open.append(started.run)
            else:
                self._close(started.run, started.process.returncode)

    def _close(self, run: Run, code: int) -> None:
        """Writes the state of a run whose process could not write it, and logs how it ended."""
        error = None
        if code == EXIT_CODES[INTERRUPTED]:
            error = "was interrupted; the same command resumes it"
        elif not is_done(run.folder) and not self._has_failed(run):
            error = _ended_by(code)
        if error is not None:
            write_state(run.folder, state=FAILED, error=error, finished=time.time())
        state = read_state(run.folder)
        text = "done" if state["state"] == DONE else f"FAILED: {state['error']}"
        get_logger().info(f"{run}: {text} ({state.get('seconds', 0):.0f} s)")

    def _has_failed(self, run: Run) -> bool:
        """Whether it failed since this command began: an earlier failure is tried again."""
        state = read_state(run.folder)
        return state.get("state") == FAILED and state.get("finished", 0) >= self._began

    def _interrupt(self) -> None:
        get_logger().info("interrupted: running ones finish their step and save")
        waiting = [started.process for started in self._started]
        while waiting:
            for process in waiting:
                process.terminate()  # to them, as Ctrl-C
            with suppress(KeyboardInterrupt):  # at the next Ctrl-C they are told again
                for process in list(waiting):
                    process.wait()
                    waiting.remove(process)


def _is_held(folder: StudyRunFolder) -> bool:
    lock = try_lock(folder.root / LOCK_FILE)
    if lock is not None:
        lock.release()
    return lock is None


def _ended_by(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    memory = ": was there enough memory?" if name == "SIGKILL" else ""
    return f"the process ended by signal {name}{memory}"
