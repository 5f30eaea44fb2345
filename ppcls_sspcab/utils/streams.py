"""Keeping standard output clean of what C++ libraries print there."""

from __future__ import annotations

import ctypes
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# What Paddle's oneDNN kernels and paddle2onnx say when nothing is wrong.
_NOISE = re.compile(
    r"\s*$|ReduceMeanCheckIfOneDNNSupport|"
    r"\[Paddle2ONNX\] (Start parsing|Use opset_version|PaddlePaddle model is exported)|"
    r".*\[INFO\]\s+ONNX model saved in "
)


@contextmanager
def quiet_stdout() -> Iterator[None]:
    """While the block runs, what any code of this process writes to standard output (file
    descriptor 1) is held back; then its lines go to standard error, without known noise.

    Standard error is left alone, so that a crash inside the block can still be read.
    """
    _flush()
    try:
        kept = os.dup(1)
    except OSError:  # started without a standard output: nothing to keep clean
        yield
        return
    try:
        with tempfile.TemporaryFile() as held:
            os.dup2(held.fileno(), 1)
            try:
                yield
            finally:
                _flush()
                os.dup2(kept, 1)
                held.seek(0)
                _pass_on(held.read().decode("utf-8", "replace"))
    finally:
        os.close(kept)


def _pass_on(text: str) -> None:
    for line in text.splitlines():
        if not _NOISE.match(line):
            with suppress(AttributeError, OSError, ValueError):
                print(line, file=sys.stderr, flush=True)


def _flush() -> None:
    with suppress(AttributeError, OSError, ValueError):
        sys.stdout.flush()
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).fflush(None)
