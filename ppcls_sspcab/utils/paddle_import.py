"""The first import of Paddle by a program: a clear error if there is none, and no noise."""

from __future__ import annotations

import io
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress

from ppcls_sspcab.errors import UserError

# Beginnings of warnings that ask nothing of the user.
_NOISE = (
    "No ccache found",
    "When training, we now always track global mean",
    "Tensor do not have 'place' interface",
)


def import_paddle() -> None:
    """Imports Paddle, of the CPU or the GPU build, without its needless warnings.

    ``GLOG_minloglevel`` stays where the user has set it, and so does the handler of SIGTERM.

    Raises:
        UserError: no Paddle is installed, or what it needs is not.
    """
    os.environ.setdefault("GLOG_minloglevel", "2")
    for message in _NOISE:
        warnings.filterwarnings("ignore", message=message)
    said = io.StringIO()
    try:
        with _sigterm_as_before(), redirect_stderr(said):
            import paddle  # noqa: F401 - imported for its effect
    except ImportError as error:
        reason = "is not installed" if error.name == "paddle" else f"cannot be imported ({error})"
        raise UserError(
            f"PaddlePaddle {reason}: pip install paddlepaddle, or for a GPU the build that "
            "https://www.paddlepaddle.org.cn/en/install/quick names"
        ) from error
    finally:
        for line in said.getvalue().splitlines():
            if "OMP_NUM_THREADS" not in line and "data parallel" not in line:
                print(line, file=sys.stderr)


@contextmanager
def _sigterm_as_before() -> Iterator[None]:
    """Leaves the handler of SIGTERM as it is; a SIGTERM meanwhile waits for it.

    Paddle puts its own in place, which prints a C++ stack and aborts.
    """
    handler = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL
    held = hasattr(signal, "pthread_sigmask")  # not on Windows
    if held:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        yield
    finally:
        with suppress(ValueError):  # not in the main thread, where no handler can be set
            signal.signal(signal.SIGTERM, handler)
        if held:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
