"""Writing: whole or not at all, and a reason that a person can act on."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ppcls_sspcab.errors import OutputError
from ppcls_sspcab.utils.files import (
    atomic_folder,
    atomic_path,
    atomic_write,
    records_file,
    write_json,
)

HERE = Path(__file__).parent

# The kernel itself refuses to write more: the file size is limited to 4096 bytes.
LIMITED = """
import resource, sys
import numpy as np
from ppcls_sspcab.errors import OutputError
from ppcls_sspcab.utils.files import atomic_write
from ppcls_sspcab.utils.weights import write_pdparams, write_safetensors
arrays = {"a": np.zeros(10_000)}
write = {
    "text": lambda path: atomic_write(path, "x" * 10_000),
    "safetensors": lambda path: write_safetensors(path, arrays),
    "pdparams": lambda path: write_pdparams(path, arrays),
}[sys.argv[1]]
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write(sys.argv[2])
except OutputError as error:
    print(error)
"""

WITHOUT_RIGHTS = """
import os, sys
from ppcls_sspcab.errors import OutputError
from ppcls_sspcab.utils.files import atomic_write
if os.getuid() == 0:
    os.setuid(65534)  # root may write everywhere
try:
    atomic_write(sys.argv[1], "new")
except OutputError as error:
    print(error)
"""


def output_of(code: str, *arguments: object) -> str:
    words = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("kind", ["text", "safetensors", "pdparams"])
def test_what_the_kernel_refuses_leaves_the_old_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "old"
    path.write_text("old")
    said = output_of(LIMITED, kind, path)
    assert said == f"{path}: cannot be written: the file is larger than its file system, or " + (
        "ulimit -f, allows\n"
    )
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_without_rights(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        said = output_of(WITHOUT_RIGHTS, tmp_path / "new")
    finally:
        tmp_path.chmod(0o755)
    assert "new: cannot be written: no permission" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "read-only"),
        (errno.EDQUOT, "quota"),
        (errno.EIO, "the disk reports a failure"),
    ],
)
def test_the_reason_is_said_and_what_was_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    target, folder = tmp_path / "file", tmp_path / "folder"
    atomic_write(target, "old")
    with atomic_folder(folder) as temporary:
        (temporary / "old").touch()

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OutputError, match=f"file: cannot be written: .*{reason}"):
        atomic_write(target, "new")
    match = f"folder: cannot be written: .*{reason}"
    with pytest.raises(OutputError, match=match), atomic_folder(folder) as temporary:
        (temporary / "new").touch()
    assert target.read_text() == "old"
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert sorted(tmp_path.iterdir()) == [target, folder]


def test_another_error_passes_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "file"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_json_stays_json_with_a_name_that_is_no_text(tmp_path: Path) -> None:
    for name in ("raw\udcff", "gut ü"):
        write_json(tmp_path / "names.json", {"defect": name})
        text = (tmp_path / "names.json").read_text(encoding="utf-8")
        assert json.loads(text) == {"defect": name}
        assert ("ü" in text) == ("ü" in name)


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="a part of the path is a file"):
        atomic_write(tmp_path / "file" / "below", "x")


def test_of_a_link_what_it_names_is_written(tmp_path: Path) -> None:
    for name in ("there", "not_yet"):
        link, real = tmp_path / f"link_{name}", tmp_path / "data" / name
        link.symlink_to(real)
        for write in WRITERS.values():
            write(link, f"text of {name}")
            assert link.is_symlink()
            assert real.read_text() == f"text of {name}"
        assert list(real.parent.glob("*.part")) == []


def _records(path: Path, text: str) -> None:
    with records_file(path) as stream:
        stream.write(text)


WRITERS = {"whole": atomic_write, "records": _records}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_device_is_written_and_not_replaced(tmp_path: Path, writer: str) -> None:
    device = Path("/dev/null")
    WRITERS[writer](device, "text")
    assert device.is_char_device()
    link = tmp_path / "link"
    link.symlink_to(device)
    WRITERS[writer](link, "text")
    assert link.is_symlink() and link.is_char_device()
    with pytest.raises(OutputError, match="/dev/full: cannot be written: the disk is full"):
        WRITERS[writer](Path("/dev/full"), "text")


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", ["/proc/self/fd/1", "/dev/stdout", "/dev/fd/1"])
def test_standard_output_by_its_path(tmp_path: Path, writer: str, name: str) -> None:
    program = f"import sys; sys.path[:0] = {[str(HERE)]!r}; import test_files as t\n"
    program += f"t.WRITERS[{writer!r}](t.Path({name!r}), 'text')"
    words = [sys.executable, "-c", program]
    with (tmp_path / "out").open("w") as out:
        subprocess.run(words, stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "text"
    assert subprocess.run(words, capture_output=True, check=True, text=True).stdout == "text"
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


MOUNTS = """
import os, subprocess, sys
sys.path[:0] = [os.environ["HERE"]]
import test_files as t
from ppcls_sspcab.utils.files import atomic_folder
root = t.Path(sys.argv[1])
for name in ("real.txt", "place.txt"):
    (root / name).write_text("before")
for name in ("real", "place"):
    (root / name).mkdir()
    (root / name / "old").touch()
for kind in ("real.txt", "real"):
    place = root / kind.replace("real", "place")
    subprocess.run(["mount", "--bind", root / kind, place], check=True)
for writer in t.WRITERS:
    t.WRITERS[writer](root / "place.txt", f"text of {writer}")
    assert (root / "real.txt").read_text() == f"text of {writer}"
with atomic_folder(root / "place") as folder:
    (folder / "new").write_text("text")
    (folder / "deep").mkdir()
assert sorted(os.listdir(root / "real")) == ["deep", "new"]
assert sorted(os.listdir(root)) == ["place", "place.txt", "real", "real.txt"], os.listdir(root)
print("done")
"""


def test_a_mounted_file_and_a_mounted_folder_are_written(tmp_path: Path) -> None:
    able = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    if able.returncode:
        pytest.skip("this user may not mount")
    words = ["unshare", "-m", sys.executable, "-c", MOUNTS, str(tmp_path)]
    environment = {**os.environ, "HERE": str(HERE)}
    done = subprocess.run(words, capture_output=True, check=False, text=True, env=environment)
    assert done.stdout == "done\n", done.stderr


READ_ONLY = """
import os, sys
sys.path[:0] = [os.environ["HERE"]]
import test_files as t
os.setuid(65534)
for writer in t.WRITERS:
    t.WRITERS[writer](t.Path(sys.argv[1]), f"text of {writer}")
    print(t.Path(sys.argv[1]).read_text())
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="takes another user")
def test_a_writable_file_in_a_folder_that_is_not(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    file = tmp_path / "file"
    file.touch()
    file.chmod(0o666)
    words = [sys.executable, "-c", READ_ONLY, str(file)]
    environment = {**os.environ, "HERE": str(HERE)}
    done = subprocess.run(words, capture_output=True, check=False, text=True, env=environment)
    assert done.stdout == "text of whole\ntext of records\n", done.stderr


KILLED = """
import os, sys, signal
from ppcls_sspcab.utils.files import atomic_folder, atomic_path
make = {"file": atomic_path, "folder": atomic_folder}[sys.argv[2]]
with make(sys.argv[1]) as part:
    (part / "half" if part.is_dir() else part).write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path, kind: str) -> None:
    make = {"file": atomic_path, "folder": atomic_folder}[kind]
    with make(tmp_path / "model") as alive:
        for _ in range(2):
            words = [sys.executable, "-c", KILLED, str(tmp_path / "model"), kind]
            assert subprocess.run(words, check=False).returncode < 0
            for left in tmp_path.iterdir():
                os.utime(left, (0, 0))
        assert len(list(tmp_path.iterdir())) == 2  # the other one, and the last one killed
        assert alive.exists()
    with make(tmp_path / "model"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_another_process_is_just_making_is_left(tmp_path: Path) -> None:
    """It has no lock for a moment, in which others may write the target, too."""
    made = tmp_path / ".model-12345678.part"
    made.touch()
    atomic_write(tmp_path / "model", "text")
    assert made.exists()
    os.utime(made, (0, 0))
    atomic_write(tmp_path / "model", "text")
    assert not made.exists()


def test_a_pipe_is_written_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    atomic_write(pipe, "text")
    assert os.read(reading, 100) == b"text"
    os.close(reading)
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]
