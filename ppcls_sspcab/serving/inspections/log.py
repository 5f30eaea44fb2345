"""The log of inspections: rows that are on disk before anybody is told of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Tuple,
    func,
    literal,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from ppcls_sspcab.serving.inspections.database import (
    engine_of,
    migrate,
    parsed,
    reason,
    shown,
)
from ppcls_sspcab.serving.inspections.exports import csv_pages, write_parquet
from ppcls_sspcab.serving.inspections.record import (
    Inspection,
    Query,
    StorageError,
    Verdict,
)
from ppcls_sspcab.serving.inspections.schema import (
    INSPECTIONS,
    UtcTime,
    from_row,
    stored_text,
    to_row,
)
from ppcls_sspcab.serving.inspections.writer import Writer

Key = tuple[datetime, str]  # time and id of an inspection, by which they are in order

READERS = 8  # connections
PAGE = 2000  # rows of an export that are in memory together
MOST_FOUND = 1000  # rows of one answer
HEALTHY_SECONDS = 2.0  # in which the database must answer

_COLUMNS = INSPECTIONS.columns
_IS_ANOMALY: dict[Verdict, bool | None] = {"good": False, "anomalous": True, "unjudged": None}


class InspectionLog:
    """Inspections in a database, written by one thread, read by any.

    SQLite is opened in WAL mode, with ``synchronous=FULL``: in WAL mode only FULL syncs each commit
    to the disk, and a row that was acknowledged must survive that the power fails.

    Args:
        url: ``sqlite:///FILE`` (a path from the root has four strokes) or
            ``postgresql://USER:PASSWORD@HOST/DATABASE``. Tables that are missing or old are
            brought up to date.

    Raises:
        UserError: the database cannot be opened, or is of a newer version; the text hides the
            password.
    """

    def __init__(self, url: str) -> None:
        self._url = parsed(url)
        self._readers = engine_of(self._url, READERS)
        try:
            migrate(self._readers)
        except BaseException:
            self._readers.dispose()
            raise
        self._writing = engine_of(self._url, 1)
        self._writer = Writer(self._writing)
        self._probing = threading.Lock()
        self._probe: Future[bool] | None = None

    def __enter__(self) -> InspectionLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def record(self, inspections: Sequence[Inspection]) -> Future[None]:
        """Hands rows to the thread that writes; never waits.

        A row whose id is there already is left as it is, so the same rows may be given again. If
        one cannot be stored, the others are.

        Returns:
            resolved when all rows are on disk. Else it has a StorageError: a row is wrong, too
            many wait, or the database did not answer for some seconds. It cannot be cancelled.
        """
        rows, refused = [], []
        for inspection in inspections:
            try:
                rows.append(to_row(inspection))
            except (TypeError, ValueError, AttributeError) as error:
                refused.append(str(error))
        return self._writer.put(rows, refused)

    def get(self, id: str) -> Inspection | None:
        """The inspection of this id. Raises StorageError where the database does not answer."""
        wanted = select(INSPECTIONS).where(_COLUMNS.id == stored_text("id", id))
        found = self._inspections(wanted) if len(id) == 32 else []
        return found[0] if found else None

    def find(self, query: Query, limit: int = 100, after: Key | None = None) -> list[Inspection]:
        """Inspections, newest first; of the same time, by falling id.

        Args:
            query: which.
            limit: most of them; above 1,000 it counts as 1,000.
            after: time and id of the last one of the page before.

        Raises:
            StorageError: the database does not answer.
        """
        wanted = select(INSPECTIONS).where(*_conditions(query))
        if after is not None:
            wanted = wanted.where(_place() < _key(after))
        newest_first = (_COLUMNS.time.desc(), _COLUMNS.id.desc())
        return self._inspections(
            wanted.order_by(*newest_first).limit(max(0, min(limit, MOST_FOUND)))
        )

    def count(self, query: Query) -> dict[Verdict, int]:
        """How many inspections have each verdict; all three are there.

        Raises:
            StorageError: the database does not answer.
        """
        wanted = select(_COLUMNS.is_anomaly, func.count()).where(*_conditions(query))
        with self._reading() as connection:
            rows = connection.execute(wanted.group_by(_COLUMNS.is_anomaly)).all()
        numbers = {row[0]: int(row[1]) for row in rows}
        return {verdict: numbers.get(value, 0) for verdict, value in _IS_ANOMALY.items()}

    def csv(self, query: Query) -> Iterator[str]:
        """Pieces of a CSV, oldest first, of the inspections that are there when it begins.

        See :func:`ppcls_sspcab.serving.inspections.exports.csv_pages`. Raises StorageError, at once
        or at any piece, where the database does not answer.
        """
        return csv_pages(self._pages(query))

    def parquet(self, query: Query, path: str | os.PathLike[str]) -> None:
        """Writes the same rows as :meth:`csv`, typed, to a Parquet file.

        Raises:
            OutputError: the file cannot be written.
            StorageError: the database does not answer; no file appears.
        """
        write_parquet(self._pages(query), path)

    def picture_times(self, pictures: Sequence[str]) -> dict[str, datetime]:
        """Times of the inspections whose kept pictures these are; others are left out.

        Args:
            pictures: paths in the picture store, as rows have them, at most some hundred.

        Raises:
            StorageError: the database does not answer.
        """
        wanted = select(_COLUMNS.picture, _COLUMNS.time).where(*_of_pictures(pictures))
        with self._reading() as connection:
            return {row.picture: row.time for row in connection.execute(wanted)}

    def remove_pictures(self, pictures: Sequence[str]) -> None:
        """Sets ``picture`` to "" in the rows that have one of these; the rows stay.

        Args:
            pictures: as :meth:`picture_times` has them.

        Raises:
            StorageError: the database does not answer or cannot write.
        """
        change = update(INSPECTIONS).where(*_of_pictures(pictures)).values(picture="")
        with self._reading() as connection, connection.begin():
            connection.execute(change)

    def healthy(self) -> bool:
        """Whether the database answers within two seconds, and writes if it last did not."""
        if not self._writer.running:
            return False
        with self._probing:
            if self._probe is None or self._probe.done():
                self._probe = Future()
                threading.Thread(target=self._ask, args=[self._probe], daemon=True).start()
            probe = self._probe
        try:
            return probe.result(HEALTHY_SECONDS)
        except FutureTimeoutError:
            return False

    def close(self) -> None:
        """Writes what was taken, then closes the connections; a second time does nothing."""
        self._writer.close()
        self._writing.dispose()
        self._readers.dispose()

    def _ask(self, answer: Future[bool]) -> None:
        try:
            with self._readers.begin() as connection:
                connection.execute(text("SELECT 1"))
                if self._writer.down:
                    # Changes nothing, but is written: fails on a full or read-only disk.
                    connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
            self._writer.down = False
            answer.set_result(True)
        except Exception:
            answer.set_result(False)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._readers.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StorageError(
                f"{shown(self._url)}: the database does not answer: {reason(error, self._url)}"
            ) from error

    def _inspections(self, wanted: Select[Any]) -> list[Inspection]:
        with self._reading() as connection:
            return [from_row(tuple(row)) for row in connection.execute(wanted)]

    def _pages(self, query: Query) -> Iterator[list[Inspection]]:
        """Inspections oldest first, up to the newest there is at the start.

        Each page is a query of its own: a transaction as long as a slow download would keep the
        database from clearing up.
        """
        newest = self.find(query, limit=1)
        if not newest:
            return iter(())
        last = _key((newest[0].time, newest[0].id))
        wanted = select(INSPECTIONS).where(*_conditions(query), _place() <= last)
        return self._pages_of(wanted.order_by(_COLUMNS.time, _COLUMNS.id).limit(PAGE))

    def _pages_of(self, wanted: Select[Any]) -> Iterator[list[Inspection]]:
        page = self._inspections(wanted)
        while page:
            yield page
            after = _key((page[-1].time, page[-1].id))
            page = self._inspections(wanted.where(_place() > after))


def _place() -> Tuple:
    return tuple_(_COLUMNS.time, _COLUMNS.id)


def _key(key: Key) -> Tuple:
    time, id = key
    return tuple_(literal(time, UtcTime()), literal(stored_text("id", id)))


def _of_pictures(pictures: Sequence[str]) -> list[ColumnElement[bool]]:
    """The rows of pictures, found by the ids in the names of their files."""
    ids = [path.rpartition("/")[2].partition(".")[0] for path in pictures]
    return [_COLUMNS.id.in_(ids), _COLUMNS.picture.in_(list(pictures))]


def _conditions(query: Query) -> list[ColumnElement[bool]]:
    names: tuple[Literal["model", "station", "serial", "sha256"], ...]
    names = ("model", "station", "serial", "sha256")
    given = {name: getattr(query, name) for name in names}
    found = [
        _COLUMNS[name] == stored_text(name, value)
        for name, value in given.items()
        if value is not None
    ]
    if query.verdict is not None:
        # "=" and "IS NULL" are what both databases look up in the index.
        value = _IS_ANOMALY[query.verdict]
        column = _COLUMNS.is_anomaly
        found.append(column.is_(None) if value is None else column == literal(value))
    if query.since is not None:
        found.append(_COLUMNS.time >= query.since)
    if query.until is not None:
        found.append(_COLUMNS.time < query.until)
    return found
