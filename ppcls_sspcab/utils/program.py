"""How every program of the project ends: one error line, one table of exit codes, signals."""

from __future__ import annotations

import codecs
import io
import json
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ppcls_sspcab.errors import UserError, one_line
from ppcls_sspcab.utils.files import why_not_written
from ppcls_sspcab.utils.logger import get_logger

USER_ERROR = 2
INTERRUPTED = 130

_ESCAPES = "ppcls_sspcab.json_escapes"


def run_program(program: Callable[[], int]) -> int:
    """Runs a program's body and turns what ends it early into an exit code and one line.

    SIGTERM acts as Ctrl-C while the body runs: a container's stop saves what Ctrl-C saves.
    A character that standard output's encoding lacks is written as its JSON escape.

    Returns:
        the body's own exit code; 2 for a :class:`UserError`, for a package that is not installed,
        and for an output that cannot be written (a full disk); 0 if the reader of standard output
        (``head``) has gone; 130 after Ctrl-C or SIGTERM. Whatever else is raised passes: it is a
        bug, and keeps its traceback.
    """
    _escape_what_cannot_be_encoded()
    try:
        with _handling((signal.SIGTERM,), signal.default_int_handler):
            code = program()
            if sys.stdout is not None:
                sys.stdout.flush()  # a full disk is to be noticed here, not at Python's own end
            return code
    except UserError as error:
        return _failed(one_line(error))
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("ppcls_sspcab"):
            raise
        return _failed(f"{error}: a bare install only scores: pip install 'ppcls_sspcab[train]'")
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _reader_has_gone():
            discard_output()
            return 0
        reason = why_not_written(error)
        if reason is None:
            raise
        discard_output()
        return _failed(f"{error.filename or 'standard output'}: cannot be written: {reason}")


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Lets a loop end at a place of its own choice.

    While the block runs, the first Ctrl-C or SIGTERM is noted and the second one raises
    KeyboardInterrupt at once.

    Yields:
        a function that tells whether one has come. Signals reach the main thread only; in
        another one it is always False.
    """
    asked, process = False, os.getpid()

    def note(number: int, frame: object) -> None:
        nonlocal asked
        if os.getpid() != process:
            return  # a reader process, to which the terminal sends Ctrl-C too: it ends with us
        if asked:
            raise KeyboardInterrupt
        asked = True
        get_logger().info("finishing the step and saving; press Ctrl-C again to stop at once")

    with _handling((signal.SIGINT, signal.SIGTERM), note):
        yield lambda: asked


@contextmanager
def _handling(
    signals: tuple[signal.Signals, ...], handler: Callable[..., object]
) -> Iterator[None]:
    """Within the block the handler gets the signals, where this is the main thread."""
    previous = {}
    try:
        with suppress(ValueError):  # not in the main thread, where no signal arrives
            for number in signals:
                previous[number] = signal.signal(number, handler)
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)


def _failed(text: str) -> int:
    _say(f"error: {text}")
    return USER_ERROR


def _say(text: str) -> None:
    with suppress(OSError, ValueError):  # the exit code still tells it where nobody reads
        print(text, file=sys.stderr, flush=True)


def _escape_what_cannot_be_encoded() -> None:
    """Lets standard output write every text, whatever its encoding (``PYTHONIOENCODING=ascii``).

    In the locale C, Python itself chooses ``surrogateescape``, which lacks the same characters.
    """
    unable = ("strict", "surrogateescape")
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in unable:
        codecs.register_error(_ESCAPES, _json_escapes)
        sys.stdout.reconfigure(errors=_ESCAPES)


def _json_escapes(error: UnicodeError) -> tuple[str, int]:
    """Records stay valid JSON; Python's ``backslashreplace`` would write ``\\xfc``."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def _reader_has_gone() -> bool:
    """Whether it is standard output's pipe that broke, and not one to another process."""
    if not hasattr(select, "poll"):  # Windows
        return True
    with suppress(AttributeError, OSError, ValueError):
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return bool(poll.poll(0))
    return False


def discard_output() -> None:
    """What Python would still flush to standard output at its end goes nowhere."""
    with suppress(AttributeError, OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
