"""Standard output is kept for records; what libraries print there is sorted."""

import subprocess
import sys

PROGRAM = """
import ctypes
from ppcls_sspcab.utils.streams import quiet_stdout
libc = ctypes.CDLL(None)
print("record 1")
try:
    with quiet_stdout():
        libc.puts(b"ReduceMeanCheckIfOneDNNSupport")
        libc.puts(b"[Paddle2ONNX] Start parsing the Paddle model file...")
        libc.puts(b"from C: it went wrong")
        print("from Python")
        FAILURE
except RuntimeError:
    pass
libc.puts(b"C again")
libc.fflush(None)
print("record 2")
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )


def test_noise_goes_and_the_rest_is_read_on_standard_error() -> None:
    for failure in ("pass", "raise RuntimeError"):
        result = run(PROGRAM.replace("FAILURE", failure))
        assert result.stdout.splitlines() == ["record 1", "C again", "record 2"]
        assert sorted(result.stderr.splitlines()) == ["from C: it went wrong", "from Python"]


def test_a_crash_inside_still_says_what_it_says_on_standard_error() -> None:
    crash = "import os; os.write(2, b'assertion failed'); os.abort()"
    result = run(PROGRAM.replace("FAILURE", crash))
    assert result.returncode < 0 and "assertion failed" in result.stderr


def test_without_standard_output_the_block_runs_all_the_same() -> None:
    program = "import os; os.close(1)\n" + PROGRAM.replace('print("record 1")', "")
    program = program.replace('print("record 2")', "import sys; sys.stderr.write('done')")
    program = program.replace('print("from Python")', "").replace("FAILURE", "pass")
    assert run(program).stderr.endswith("done")
