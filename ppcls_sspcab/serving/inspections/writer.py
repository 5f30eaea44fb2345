"""The one thread that writes rows, many in one commit."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ppcls_sspcab.serving.inspections.database import reason, shown
from ppcls_sspcab.serving.inspections.record import StorageError
from ppcls_sspcab.serving.inspections.schema import INSPECTIONS

Row = dict[str, Any]

MOST_WAITING = 10_000  # rows
MOST_TOGETHER = 500  # rows of one commit, as long as one call does not bring more
# Seconds between tries while the database does not answer: a server may restart meanwhile.
PAUSES = (0.05, 0.2, 0.5, 1.0, 2.0, 4.0)
PAUSES_WHEN_DOWN = (0.05,)  # once all of those were in vain, until it answers again


@dataclass(frozen=True)
class _Call:
    """Rows that are acknowledged together; ``refused`` says of other rows why they are none."""

    rows: list[Row]
    refused: list[str]
    done: Future[None]


class Writer:
    """Takes rows from any thread and commits all that wait together.

    Args:
        engine: of the database; used by the writer's own thread alone.

    Attributes:
        down: whether the last try to write failed because the database did not answer, or could
            not write. Whoever finds that it can again may set it back.
    """

    def __init__(self, engine: Engine) -> None:
        dialect = postgresql if engine.dialect.name == "postgresql" else sqlite
        insert = dialect.insert(INSPECTIONS)
        # A commit whose answer was lost is tried again: its rows are there already.
        self._insert = insert.on_conflict_do_nothing(index_elements=["id"])
        self._engine = engine
        self._calls: deque[_Call] = deque()
        self._waiting = 0  # rows, those that are being written too
        self._closed = False
        self._changed = threading.Condition()
        self.down = False
        self._thread = threading.Thread(target=self._run, name="inspections", daemon=True)
        self._thread.start()

    def put(self, rows: list[Row], refused: list[str]) -> Future[None]:
        """Hands over rows; never waits.

        Args:
            rows: by column.
            refused: why further rows of this call are none; the future then ends with an error,
                though ``rows`` are written.

        Returns:
            resolved when the rows are on disk; or with a StorageError.
        """
        done: Future[None] = Future()
        # It cannot be cancelled: the rows are on their way.
        done.set_running_or_notify_cancel()
        where = shown(self._engine.url)
        with self._changed:
            if self._closed:
                done.set_exception(StorageError(f"{where}: the service is closing"))
            elif rows and self._waiting + len(rows) > max(MOST_WAITING, len(rows)):
                done.set_exception(
                    StorageError(f"{where}: {self._waiting} rows wait to be written: try later")
                )
            else:
                self._calls.append(_Call(rows, refused, done))
                self._waiting += len(rows)
                self._changed.notify()
        return done

    def close(self) -> None:
        """Writes what was taken and ends the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    @property
    def running(self) -> bool:
        """Whether rows are still taken and written."""
        return self._thread.is_alive() and not self._closed

    def _run(self) -> None:
        while calls := self._next():
            rows = [row for call in calls for row in call.rows]
            try:
                answers = iter(self._store(rows))
            except Exception as error:  # such as MemoryError: the thread goes on for others
                answers = iter([f"{type(error).__name__}: {error}"] * len(rows))
            with self._changed:
                self._waiting -= len(rows)
            for call in calls:
                problems = [next(answers) for _ in call.rows]
                self._answer(call, [*call.refused, *filter(None, problems)])

    def _answer(self, call: _Call, problems: list[str]) -> None:
        if not problems:
            call.done.set_result(None)
            return
        of = len(call.rows) + len(call.refused)
        call.done.set_exception(
            StorageError(
                f"{shown(self._engine.url)}: {len(problems)} of {of} rows could not be stored: "
                f"{problems[0]}"
            )
        )

    def _next(self) -> list[_Call]:
        """Calls that wait, for one commit; none when all is written and the writer is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._calls or self._closed)
            taken: list[_Call] = []
            rows = 0
            while self._calls and (not taken or rows + len(self._calls[0].rows) <= MOST_TOGETHER):
                taken.append(self._calls.popleft())
                rows += len(taken[-1].rows)
            return taken

    def _store(self, rows: Sequence[Row]) -> list[str]:
        """Writes rows in one commit, or in halves where the database refuses one of them.

        Returns:
            for each row why it is not on disk; "" where it is.
        """
        if not rows:
            return []
        pauses = PAUSES_WHEN_DOWN if self.down else PAUSES
        for pause in (*pauses, None):
            try:
                with self._engine.begin() as connection:
                    connection.execute(self._insert, rows)
                self.down = False
                return [""] * len(rows)
            except SQLAlchemyError as error:
                said = reason(error, self._engine.url)
                if not _may_pass(error):
                    break
                if pause is None:
                    self.down = True
                    return [said] * len(rows)
            time.sleep(pause)
        if len(rows) == 1:
            return [said]
        half = len(rows) // 2
        return self._store(rows[:half]) + self._store(rows[half:])


def _may_pass(error: SQLAlchemyError) -> bool:
    """Whether the fault is the database's (gone, locked, its disk full), not the rows'."""
    if isinstance(error, OperationalError | InterfaceError | PoolTimeoutError):
        return True
    return isinstance(error, DBAPIError) and error.connection_invalidated
