"""Keeping standard output clean of what C++ libraries print there."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """While the block runs, what any code of this process writes to standard output (file
    descriptor 1) goes to standard error.

    Paddle's oneDNN kernels and paddle2onnx print to standard output, where records are expected.
    """
    _flush()
    try:
        kept = os.dup(1)
    except OSError:  # started without a standard output: nothing to keep clean
        yield
        return
    try:
        with suppress(OSError):
            os.dup2(2, 1)
        yield
    finally:
        _flush()
        os.dup2(kept, 1)
        os.close(kept)


def _flush() -> None:
    with suppress(AttributeError, OSError, ValueError):
        sys.stdout.flush()
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).fflush(None)
