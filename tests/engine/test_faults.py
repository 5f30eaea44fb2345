"""What a run does when the world around it fails."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soak

from ppcls_sspcab.utils.weights import read_weights

LONG = ("Global.epochs=400", "Global.model_selection=last", "Global.category=gasket")
SECOND_EPOCH = "[Train][3/"  # of two steps each
SHORT = ("Global.epochs=2", "Global.model_selection=last", "Global.category=gasket")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return soak.prepare(tmp_path_factory.mktemp("faults"))


class Run:
    """``ppcls-sspcab VERB`` in a process (and process group) of its own."""

    def __init__(self, config: Path, output: Path, *overrides: str, verb: str = "train") -> None:
        words = [sys.executable, "-m", "ppcls_sspcab", verb, "-c", str(config)]
        for pair in (f"Global.output_dir={output}", *overrides):
            words += ["-o", pair]
        self.log = output.with_suffix(".log")
        environment = {**soak.environment(), "PPCLS_SSPCAB_NO_LAUNCHER": "1"}
        self.process = subprocess.Popen(
            words,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=self.log.open("wb"),
            start_new_session=True,
        )

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def until(self, text: str) -> None:
        self.wait(lambda: text in self.said())

    def wait(self, reached: Callable[[], object], seconds: float = 240) -> None:
        deadline = time.monotonic() + seconds
        while not reached():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.02)

    def end(self) -> int:
        return self.process.wait(timeout=240)

    def errors(self) -> list[str]:
        return [line for line in self.said().splitlines() if line.startswith("error: ")]

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def start(config: Path, tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def begin(*overrides: str, output: str = "output", verb: str = "train") -> Run:
        runs.append(Run(config, tmp_path / output, *overrides, verb=verb))
        return runs[-1]

    yield begin
    for run in runs:
        if run.process.poll() is None:
            os.killpg(run.process.pid, signal.SIGKILL)
            run.process.wait()


@pytest.mark.slow
def test_two_runs_into_one_folder_and_ctrl_c(start: Callable[..., Run], tmp_path: Path) -> None:
    first = start(*LONG, "DataLoader.Train.loader.num_workers=1")
    first.until(SECOND_EPOCH)
    second = start(*LONG)
    assert second.end() == 2
    (line,) = second.errors()
    assert f"pid {first.process.pid} on " in line and str(tmp_path / "output" / "gasket") in line
    # The terminal sends it to the reader process as well.
    os.killpg(first.process.pid, signal.SIGINT)
    assert first.end() == 130, first.said()
    assert "Traceback" not in first.said()
    latest = tmp_path / "output" / "gasket" / "checkpoints" / "latest.safetensors"
    assert read_weights(latest)
    # The folder is free again, and a second Ctrl-C ends a run at once, with the checkpoint whole.
    third = start(*LONG, "Global.checkpoints=latest", "Global.iter_per_epoch=2")
    third.until("resuming after step")
    third.until("[Train]")
    before = time.monotonic()
    third.process.send_signal(signal.SIGINT)
    third.process.send_signal(signal.SIGINT)
    assert third.end() == 130
    assert time.monotonic() - before < 60
    assert read_weights(latest)


@pytest.mark.slow
def test_a_containers_stop_saves_the_step_and_the_run_goes_on_bit_for_bit(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    epochs = ("Global.epochs=30", "Global.model_selection=last", "Global.category=gasket")
    epochs += ("DataLoader.Train.loader.num_workers=1",)
    stopped = start(*epochs, output="stopped")
    stopped.until(SECOND_EPOCH)
    os.killpg(stopped.process.pid, signal.SIGTERM)  # as systemd does: its readers get it too
    assert stopped.end() == 130, stopped.said()
    assert "Traceback" not in stopped.said() and "C++" not in stopped.said()
    resumed = start(*epochs, "Global.checkpoints=latest", output="stopped")
    assert resumed.end() == 0, resumed.said()
    step = re.search(r"resuming after step (\d+)", resumed.said())
    assert step is not None and 3 <= int(step[1]) < 60
    whole = start(*epochs, output="whole")
    assert whole.end() == 0, whole.said()
    found, expected = (
        read_weights(tmp_path / name / "gasket" / "detector.safetensors")
        for name in ("stopped", "whole")
    )
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


@pytest.mark.slow
def test_a_killed_reader_process_is_reported(start: Callable[..., Run]) -> None:
    run = start(*LONG, "DataLoader.Train.loader.num_workers=1")
    run.until(SECOND_EPOCH)
    (worker, *_) = run.children()
    os.kill(worker, signal.SIGKILL)
    assert run.end() == 2, run.said()
    (line,) = run.errors()
    assert "reader process" in line and "num_workers" in line
    assert "Traceback" not in run.said()


@pytest.mark.slow
def test_a_killed_run_leaves_no_reader_process(start: Callable[..., Run]) -> None:
    run = start(*LONG, "DataLoader.Train.loader.num_workers=1")
    run.until(SECOND_EPOCH)
    workers = run.children()
    assert workers
    run.process.kill()
    run.end()
    deadline = time.monotonic() + 120
    while any(_alive(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet is dead too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_vanished_picture_is_named(
    start: Callable[..., Run], config: Path, tmp_path: Path, workers: int
) -> None:
    data = tmp_path / "data"
    soak.shutil.copytree(config.parent / "data", data)
    run = start(
        *LONG,
        f"Global.data_root={data}",
        "Global.cache_mb=0",
        f"DataLoader.Train.loader.num_workers={workers}",
    )
    run.until(SECOND_EPOCH)
    victim = sorted((data / "gasket" / "train" / "good").iterdir())
    for path in victim:
        path.unlink()
    assert run.end() == 2, run.said()
    (line,) = run.errors()
    assert any(f"{path}: does not exist" in line for path in victim)


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_checkpoint(
    config: Path, tmp_path: Path, start: Callable[..., Run]
) -> None:
    run = start(*SHORT)
    assert run.end() == 0, run.said()
    folder = tmp_path / "output" / "gasket"
    kept = {path: path.read_bytes() for path in folder.rglob("*.safetensors")}

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    words = [sys.executable, "-m", "ppcls_sspcab"]
    for verb in ("train", "export"):
        command = [*words, verb, "-c", str(config), "-o", f"Global.output_dir={folder.parent}"]
        for pair in (*SHORT, "Global.seed=1"):
            command += ["-o", pair]
        done = subprocess.run(
            command,
            env=soak.environment(),
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=limited,
        )
        assert done.returncode == 2, done.stderr
        (line,) = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
        assert str(folder) in line and "Traceback" not in done.stderr
    assert {path: path.read_bytes() for path in folder.rglob("*.safetensors")} == kept
    assert not list(folder.rglob("*.part"))
    assert not (folder / "inference").exists()


@pytest.mark.slow
def test_alone_or_among_all_and_with_any_number_of_workers(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    settings = {
        "again": (*SHORT,),
        "one": (*SHORT, "DataLoader.Train.loader.num_workers=1"),
        "four": (*SHORT, "DataLoader.Train.loader.num_workers=4"),
        "all": (*SHORT[:2], "Global.category=all"),
    }
    found = {}
    for name, overrides in {"first": SHORT, **settings}.items():
        run = start(*overrides, output=name)
        assert run.end() == 0, run.said()
        found[name] = read_weights(tmp_path / name / "gasket" / "detector.safetensors")
    for name in settings:
        assert found[name].keys() == found["first"].keys()
        for key, value in found["first"].items():
            np.testing.assert_array_equal(found[name][key], value, err_msg=f"{name}: {key}")
