"""One logger: lines on standard error (above a progress bar, if there is one) and in a file."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FORMAT = logging.Formatter("[%(asctime)s] %(levelname)s: %(message)s", "%Y/%m/%d %H:%M:%S")


class _AboveTheBar(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


def get_logger() -> logging.Logger:
    """The project's logger; its first use adds the handler for standard error."""
    logger = logging.getLogger("ppcls_sspcab")
    if not logger.handlers:
        handler = _AboveTheBar()
        handler.setFormatter(_FORMAT)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        # PaddleClas adds a handler to the root logger; each line would appear twice.
        logger.propagate = False
    return logger


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """While the block runs, log lines also go to the end of a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(_FORMAT)
    logger = get_logger()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
