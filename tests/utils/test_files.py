"""Writing: whole or not at all, and a reason that a person can act on."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ppcls_sspcab.errors import OutputError
from ppcls_sspcab.utils.files import atomic_folder, atomic_path, atomic_write, write_json

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


def test_a_pipe_is_written_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    atomic_write(pipe, "text")
    assert os.read(reading, 100) == b"text"
    os.close(reading)
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]
