import subprocess
import sys

PROGRAM = """
import ctypes
from ppcls_sspcab.utils.streams import stdout_to_stderr
libc = ctypes.CDLL(None)
print("record 1")
with stdout_to_stderr():
    libc.puts(b"from C")
    print("from Python")
libc.puts(b"C again")
libc.fflush(None)
print("record 2")
"""


def test_only_what_is_written_inside_goes_to_standard_error():
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.splitlines() == ["record 1", "C again", "record 2"]
    assert sorted(result.stderr.splitlines()) == ["from C", "from Python"]


def test_without_standard_output_the_block_runs_all_the_same():
    program = "import os; os.close(1)\n" + PROGRAM.replace('print("record 1")', "") + "\n"
    program = program.replace('print("record 2")', "import sys; sys.stderr.write('done')")
    program = program.replace('print("from Python")', "")
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.stderr.endswith("done")
