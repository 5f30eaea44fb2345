"""The first import of Paddle by a command: a clear error if there is none, and no noise."""

from __future__ import annotations

import importlib.util
import io
import os
import sys
import warnings
from contextlib import redirect_stderr

from ppcls_sspcab.errors import UserError


def import_paddle() -> None:
    """Imports Paddle, of the CPU or the GPU build.

    Left out are its warning about ``OMP_NUM_THREADS`` (one thread is not faster), about a missing
    ccache (nothing is compiled here), and its notes on the compilation of graphs. What the user
    has set (``GLOG_minloglevel``) stays.

    Raises:
        UserError: no Paddle is installed.
    """
    if importlib.util.find_spec("paddle") is None:
        raise UserError(
            "PaddlePaddle is not installed: pip install 'ppcls_sspcab[cpu]', or for a GPU the "
            "build that https://www.paddlepaddle.org.cn/en/install/quick names"
        )
    os.environ.setdefault("GLOG_minloglevel", "2")
    warnings.filterwarnings("ignore", message="No ccache found")
    warnings.filterwarnings("ignore", message="When training, we now always track global mean")
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            import paddle  # noqa: F401 - imported for its effect
    finally:
        for line in said.getvalue().splitlines():
            if "OMP_NUM_THREADS" not in line and "data parallel" not in line:
                print(line, file=sys.stderr)
