"""One logger: short lines on standard error (above a progress bar), full ones in a file."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ppcls_sspcab.errors import printable
from ppcls_sspcab.utils.files import naming_output

_TIME = "%Y/%m/%d %H:%M:%S"


class _ShortFormat(logging.Formatter):
    """The time and the message, or the ``short`` form that the line was logged with."""

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno == logging.INFO else f"{record.levelname}: "
        text = getattr(record, "short", None) or record.getMessage()
        return f"[{self.formatTime(record, _TIME)}] {level}{printable(text)}"


class _LongFormat(logging.Formatter):
    """The time, the level and the whole message, on one line whatever names it holds."""

    def format(self, record: logging.LogRecord) -> str:
        text = printable(record.getMessage())
        return f"[{self.formatTime(record, _TIME)}] {record.levelname}: {text}"


class _ConsoleHandler(logging.Handler):
    """Writes to standard error, above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        write = sys.modules["tqdm"].tqdm.write if "tqdm" in sys.modules else print
        with suppress(OSError, ValueError):  # standard error is closed; the file has the line
            write(self.format(record), file=sys.stderr)


class _FileHandler(logging.FileHandler):
    """Stops with one warning when a line cannot be written, as on a full disk; the run goes on."""

    def handleError(self, record: logging.LogRecord) -> None:
        logger = get_logger()
        logger.removeHandler(self)
        logger.warning(f"{self.baseFilename}: cannot be written any more: {sys.exc_info()[1]}")


def get_logger() -> logging.Logger:
    """The project's logger; its first use adds the handler for standard error.

    A line longer than 80 characters is logged with ``extra={"short": ...}``, which the console
    shows instead; the file of :func:`log_file` takes the line itself.
    """
    logger = logging.getLogger("ppcls_sspcab")
    if not logger.handlers:
        handler = _ConsoleHandler()
        handler.setFormatter(_ShortFormat())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        # PaddleClas adds a handler to the root logger; each line would appear twice.
        logger.propagate = False
    return logger


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """While the block runs, log lines also go to the end of a file.

    Raises:
        OutputError: the file cannot be opened.
    """
    with naming_output(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _FileHandler(path, encoding="utf-8", errors="surrogateescape")
    handler.setFormatter(_LongFormat())
    logger = get_logger()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
