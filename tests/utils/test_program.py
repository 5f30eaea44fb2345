"""How programs end: every test but the last runs a real process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ppcls_sspcab.utils.program import interruptible

PROGRAM = """
import os, signal, sys, time
from ppcls_sspcab.errors import UserError
from ppcls_sspcab.utils.program import interruptible, run_program

def main():
{body}
    return 7

sys.exit(run_program(main))
"""


def program(body: str) -> list[str]:
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    return [sys.executable, "-c", PROGRAM.format(body=indented)]


def run(body: str, **options: object) -> subprocess.CompletedProcess[str]:
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run(program(body), text=True, timeout=60, check=False, **given)


def test_its_own_exit_code_is_kept() -> None:
    done = run("print('out')")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "")


def test_a_users_mistake_is_one_line() -> None:
    done = run("raise UserError('a\\nb: not there')")
    assert (done.returncode, done.stderr) == (2, "error: a\\nb: not there\n")


def test_what_a_bare_install_lacks_is_named() -> None:
    done = run("import pydantic_of_another_world")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "'pydantic_of_another_world'" in done.stderr
    assert "pip install 'ppcls_sspcab[train]'" in done.stderr


def test_a_bug_keeps_its_traceback() -> None:
    done = run("raise KeyError('x')")
    assert done.returncode == 1 and "Traceback" in done.stderr and "KeyError" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_it_alike(number: signal.Signals) -> None:
    body = f"""
signal.signal(signal.SIGINT, signal.default_int_handler)  # off in a background process
try:
    os.kill(os.getpid(), {int(number)})
    time.sleep(30)
finally:
    print("closed")
"""
    done = run(body)
    assert (done.returncode, done.stdout, done.stderr) == (130, "closed\n", "interrupted\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_one_ends(number: signal.Signals) -> None:
    body = f"""
with interruptible() as interrupted:
    print(interrupted())
    os.kill(os.getpid(), {int(number)})
    print(interrupted())
    os.kill(os.getpid(), {int(number)})
    print("never")
"""
    done = run(body)
    assert (done.returncode, done.stdout) == (130, "False\nTrue\n")
    assert "finishing the step" in done.stderr and "Traceback" not in done.stderr


def test_a_signal_while_paddle_is_loaded_waits_for_our_handler(tmp_path: Path) -> None:
    """Paddle's own handler, which is in place by then, prints a C++ stack and aborts."""
    own = "signal.signal(signal.SIGTERM, lambda *_: os._exit(99))"
    text = f"import os, signal\n{own}\nos.kill(os.getpid(), signal.SIGTERM)\n"
    (tmp_path / "paddle.py").write_text(text)
    body = f"""
sys.path.insert(0, {str(tmp_path)!r})
from ppcls_sspcab.utils.paddle_import import import_paddle
import_paddle()
print("never")
"""
    done = run(body)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_in_another_thread_nothing_is_interrupted() -> None:
    said: list[bool] = []

    def work() -> None:
        with interruptible() as interrupted:
            said.append(interrupted())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert said == [False]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
@pytest.mark.parametrize("count", [1, 10_000])
def test_a_full_disk_behind_standard_output_is_said(count: int) -> None:
    with Path("/dev/full").open("w") as full:
        done = run(f"print('a record ' * {count})", stdout=full)
    assert done.returncode == 2
    assert done.stderr.startswith("error: standard output: cannot be written: the disk is full")
    assert len(done.stderr.splitlines()) == 1


def test_a_reader_that_has_gone_ends_it_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = run("for number in range(10_000): print(number, flush=True)", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_another_broken_pipe_is_no_success() -> None:
    done = run("raise BrokenPipeError('of a reader process')")
    assert done.returncode == 1 and "of a reader process" in done.stderr


@pytest.mark.parametrize(
    "settings",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "cp1252"},
        {"PYTHONIOENCODING": "cp1252:surrogateescape"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_an_encoding_that_lacks_a_character_gets_json_escapes(settings: dict[str, str]) -> None:
    text = "fur \N{LATIN SMALL LETTER L WITH STROKE} \N{GRINNING FACE} \udcff"
    environment = {**os.environ, **settings}
    done = run(f"""import json; print(json.dumps({text!a}, ensure_ascii=False))""", env=environment)
    assert done.returncode == 7, done.stderr
    assert json.loads(done.stdout) == text


def test_without_standard_streams_it_ends_as_well() -> None:
    done = run("os.close(1); os.close(2)\nraise UserError('x')")
    assert done.returncode == 2
