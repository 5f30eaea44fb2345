"""``benchmark``: every configuration, category and seed by the same command, beside its baselines.

Each run is a process of its own. A run belongs to whoever holds the lock on its folder, so that
several devices, and several commands on the same output folder, share one list; the process of
the run holds the lock too, and no lock outlives the processes that hold it.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ppcls_sspcab.data.datasets.layouts import LAYOUTS
from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.registry import DATASETS
from ppcls_sspcab.study.plan import Run, chosen_categories, plan, read_configs, recipes
from ppcls_sspcab.study.run import (
    CONFIG,
    DONE,
    FAILED,
    INTERRUPTED,
    RUNNING,
    read_state,
    write_state,
)
from ppcls_sspcab.study.table import write_tables
from ppcls_sspcab.utils.files import atomic_write
from ppcls_sspcab.utils.launcher import missing_settings
from ppcls_sspcab.utils.logger import get_logger
from ppcls_sspcab.utils.machine import cpu_threads

POLL = 0.5  # seconds between two looks at runs that others hold
LOG = "run.log"
COMMAND = [sys.executable, "-m", "ppcls_sspcab.study.run"]  # and the run's folder


def benchmark(
    configs: Sequence[str],
    output: Path,
    *,
    overrides: Sequence[str] = (),
    data_root: str | None = None,
    categories: str = "all",
    seeds: int = 3,
    devices: Sequence[str] = ("auto",),
    diagnose: bool = False,
) -> bool:
    """Trains, fits and evaluates every combination that is not done yet, and writes the tables.

    Args:
        configs: YAML files.
        output: folder for everything; a finished or interrupted run there is not begun anew.
        overrides: ``KEY=VALUE``, for all configurations.
        data_root: instead of each configuration's.
        categories: ``all``, or names between commas.
        seeds: how many; they are 0, 1, 2...
        devices: one run at a time on each: ``cpu``, ``gpu:0``, or ``auto`` as the configuration
            says.
        diagnose: also note the best AUROC on the test pictures while training.

    Returns:
        whether all runs are done.

    Raises:
        ConfigError, DataError: before anything is run.
        KeyboardInterrupt: after Ctrl-C; running ones have finished their step and saved.
    """
    if seeds < 1:
        raise ConfigError("--seeds", f"must be at least 1, not {seeds}")
    for device in devices:
        _check_device(device)
        _environment(device, len(devices))
    found = recipes(read_configs(configs, overrides, data_root, diagnose))
    names = chosen_categories(categories, _known_categories([recipe.config for recipe in found]))
    runs = plan(found, names, range(seeds), output)
    try:
        _Schedule(runs, devices).work()
    finally:
        written = write_tables(runs, output, diagnose)
        get_logger().info("tables: " + ", ".join(map(str, written)))
    failed = [run for run in runs if read_state(run.folder).get("state") != DONE]
    for run in failed:
        get_logger().error(f"{run}: {read_state(run.folder).get('error')}; see {run.folder / LOG}")
    return not failed


def is_done(run: Run) -> bool:
    """Whether a run has its results."""
    done = read_state(run.folder).get("state") == DONE
    return done and (run.folder / "results.json").is_file()


class _Schedule:
    """Takes the runs one by one, as many at a time as there are devices."""

    def __init__(self, runs: Sequence[Run], devices: Sequence[str]) -> None:
        self._runs = list(runs)
        self._open = list(runs)
        self._devices = devices
        self._started = time.time()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._children: set[subprocess.Popen[bytes]] = set()
        self._problem: BaseException | None = None

    def work(self) -> None:
        done = [run for run in self._open if is_done(run)]
        self._open = [run for run in self._open if run not in done]
        get_logger().info(
            f"{len(self._runs)} runs, {len(done)} of them done before, "
            f"on {', '.join(self._devices)}"
        )
        threads = [
            threading.Thread(target=self._serve, args=(device,), daemon=True)
            for device in self._devices
        ]
        # smoothing 0: long and short runs alternate, and only their average tells the time left.
        with (
            tqdm(
                total=len(self._runs),
                initial=len(done),
                desc="benchmark",
                unit="run",
                smoothing=0,
                disable=None,
            ) as self._bar,
            _terminating_as_interrupting(),
        ):
            for thread in threads:
                thread.start()
            while True:
                try:
                    while any(thread.is_alive() for thread in threads):
                        time.sleep(POLL / 2)
                        self._bar.refresh()  # else its clock stands still until a run ends
                    break
                except KeyboardInterrupt:
                    self._interrupt()
        if self._stop.is_set():
            raise self._problem or KeyboardInterrupt

    def _serve(self, device: str) -> None:
        try:
            while not self._stop.is_set():
                with self._lock:
                    claim = self._next()
                if claim is not None:
                    run, handle = claim
                    try:
                        self._execute(run, handle, device)
                    finally:
                        os.close(handle)
                elif not self._open:
                    return
                else:
                    self._stop.wait(POLL)  # the rest is in other hands
        except BaseException as problem:  # a thread's exception would be lost
            self._problem = problem
            self._interrupt()

    def _next(self) -> tuple[Run, int] | None:
        for run in list(self._open):
            if self._is_settled(run):
                self._close(run)
                continue
            handle = _claim(run)
            if handle is None:
                continue
            if self._is_settled(run):  # another command has just finished it
                os.close(handle)
                self._close(run)
                continue
            return run, handle
        return None

    def _is_settled(self, run: Run) -> bool:
        """Done, or failed since this command began: an earlier failure is tried again."""
        state = read_state(run.folder)
        failed = state.get("state") == FAILED and state.get("finished", 0) >= self._started
        return is_done(run) or failed

    def _close(self, run: Run) -> None:
        self._open.remove(run)
        self._bar.update()

    def _execute(self, run: Run, handle: int, device: str) -> None:
        atomic_write(run.folder / CONFIG, _for_device(run, device).to_yaml())
        write_state(run.folder, state=RUNNING, error=None)
        code = self._wait_for(run, handle, device)
        state = read_state(run.folder)
        if self._stop.is_set() and state["state"] in (RUNNING, INTERRUPTED):
            return
        if state["state"] == RUNNING:
            error = f"the process ended by {_signal(code)}" if code < 0 else f"exit code {code}"
            if code == -signal.SIGKILL:
                error += ": was there enough memory?"
            write_state(run.folder, state=FAILED, error=error, finished=time.time())
        elif state["state"] == INTERRUPTED:
            error = "was interrupted; the same command resumes it"
            write_state(run.folder, state=FAILED, error=error, finished=time.time())
        state = read_state(run.folder)
        text = "done" if state["state"] == DONE else f"FAILED: {state['error']}"
        get_logger().info(f"{run}: {text} ({state.get('seconds', 0):.0f} s)")

    def _wait_for(self, run: Run, handle: int, device: str) -> int:
        with (run.folder / LOG).open("ab") as log:
            # Its own session: Ctrl-C in the terminal must reach it once, and from here.
            child = subprocess.Popen(
                [*COMMAND, str(run.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(device, len(self._devices)),
                pass_fds=(handle,),
                start_new_session=True,
            )
            self._children.add(child)
            if self._stop.is_set():
                child.send_signal(signal.SIGINT)
            code = child.wait()
            self._children.discard(child)
            return code

    def _interrupt(self) -> None:
        if not self._stop.is_set():
            get_logger().info("interrupted: running ones finish their step and save")
        self._stop.set()
        for child in list(self._children):
            with suppress(ProcessLookupError):
                child.send_signal(signal.SIGINT)


def _claim(run: Run) -> int | None:
    """Takes the run's lock: an open file, or None while another process holds it."""
    run.folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(run.folder / "run.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _check_device(device: str) -> None:
    kind, _, number = device.partition(":")
    if device not in ("auto", "cpu") and not (kind == "gpu" and number.isdigit()):
        raise ConfigError("--devices", f"each must be auto, cpu or gpu:NUMBER, not {device!r}")


def _for_device(run: Run, device: str) -> Any:
    config = run.config
    return config if device == "auto" else config.with_values(device=device.partition(":")[0])


def _environment(device: str, workers: int) -> dict[str, str]:
    """This process's environment, with the settings for speed, and one GPU if it is one."""
    environment = {**missing_settings(), **os.environ}
    environment.setdefault("GLOG_minloglevel", "2")
    if "OMP_NUM_THREADS" not in os.environ:
        environment["OMP_NUM_THREADS"] = str(max(1, cpu_threads() // workers))
    if device.startswith("gpu:"):
        number = int(device.partition(":")[2])
        visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        if visible and number >= len(visible):
            raise ConfigError(
                "--devices", f"{device}: CUDA_VISIBLE_DEVICES shows {len(visible)} GPU(s), from 0"
            )
        environment["CUDA_VISIBLE_DEVICES"] = visible[number] if visible else str(number)
    return environment


def _known_categories(configs: Sequence[Any]) -> list[str]:
    """The categories of the data set, which must be the same for all configurations.

    Raises:
        ConfigError: they differ.
    """
    known: list[str] | None = None
    for config in configs:
        name = config.DataLoader.Train.dataset.get("name")
        with config.naming_files():
            if name not in LAYOUTS:  # a plug-in's; the registry's look-up loads Paddle
                config.load_plugins()
            key = "DataLoader.Train.dataset.name"
            layout = LAYOUTS.get(name) or DATASETS.get(name, key)
        found = layout.categories(config.Global.data_root)
        if known is not None and found != known:
            raise ConfigError("Global.data_root", "the configurations have different categories")
        known = found
    return known or []


def _signal(code: int) -> str:
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


@contextmanager
def _terminating_as_interrupting() -> Iterator[None]:
    """Lets a SIGTERM to this command end it as Ctrl-C does, with its runs saved."""
    try:
        previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:  # not in the main thread, where signals do not arrive
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
