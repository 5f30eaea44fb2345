"""One run at a time in a folder, however the last one ended."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ppcls_sspcab.errors import OutputError
from ppcls_sspcab.paths import HOLDER_FILE, LOCK_FILE
from ppcls_sspcab.utils.lock import folder_lock, try_lock

HOLDER = """
import os, sys, time
from ppcls_sspcab.utils.lock import folder_lock
with folder_lock(sys.argv[1]):
    reader = os.fork() == 0  # it outlives a killed parent for a while
    if reader:  # so it has given back what it inherited of the lock
        print("held", flush=True)
    time.sleep(60)
    if reader:
        os._exit(0)
"""


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(tmp_path), "--of", "a test"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        os.killpg(process.pid, signal.SIGKILL)


def test_the_second_run_refuses_and_names_the_first(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    with pytest.raises(OutputError) as caught, folder_lock(tmp_path):
        pass
    text = str(caught.value)
    for part in (str(tmp_path), f"pid {holder.pid} on ", "--of 'a test'", "Global.output_dir"):
        assert part in text


def test_a_killed_run_holds_nothing_though_its_reader_lives(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    holder.kill()
    holder.wait(timeout=10)
    with folder_lock(tmp_path):
        assert f"pid {os.getpid()} on " in (tmp_path / HOLDER_FILE).read_text()
    assert not (tmp_path / HOLDER_FILE).exists()


def test_the_holder_may_enter_again_and_gives_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), folder_lock(tmp_path):
        with folder_lock(tmp_path):
            pass
        assert not _is_free(tmp_path)
        raise RuntimeError
    assert _is_free(tmp_path)


def _is_free(folder: Path) -> bool:
    """Whether another process could take the folder."""
    code = "import sys, ppcls_sspcab.utils.lock as l; l.folder_lock(sys.argv[1]).__enter__()"
    words = [sys.executable, "-c", code, str(folder)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def test_unfinished_files_go_and_others_stay(tmp_path: Path) -> None:
    gone = [
        "checkpoints/.latest-abcdefgh.part",
        ".detector-12345678.part",
        ".train-1.part",
        "plots/.roc-1.part",
    ]
    kept = ["checkpoints/latest.safetensors", ".predictions-12345678.part", "mine.part"]
    for name in (*gone, *kept, ".inference-abcdefgh.part/inference.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with folder_lock(tmp_path):
        found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {*kept, LOCK_FILE, HOLDER_FILE}


def test_a_lock_is_had_once_until_it_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "run.lock"
    first = try_lock(path)
    assert first is not None
    assert try_lock(path) is None  # nor for another thread of the process that holds it
    first.release()
    second = try_lock(path)
    assert second is not None
    second.release()


def test_a_file_system_without_locks_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def flock(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", flock)
    with folder_lock(tmp_path):
        pass
    (line,) = capsys.readouterr().err.splitlines()
    assert "WARNING" in line and str(tmp_path) in line and "has no locks" in line


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="a part of the path is a file"):
        try_lock(tmp_path / "file" / ".lock")
