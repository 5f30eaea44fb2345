"""Inspections are in the database, once, when the log says so; and are found there again."""

from __future__ import annotations

import csv
import io
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from concurrent.futures import Future
from contextlib import closing
from dataclasses import fields, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest
from databases import Database
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgres_server import PostgresServer, inspection

from ppcls_sspcab.errors import OutputError, UserError
from ppcls_sspcab.serving.inspections import log as log_module
from ppcls_sspcab.serving.inspections import writer as writer_module
from ppcls_sspcab.serving.inspections.log import InspectionLog
from ppcls_sspcab.serving.inspections.record import Inspection, Query, StorageError, as_utc
from ppcls_sspcab.serving.inspections.schema import LENGTHS

START = datetime(2026, 5, 4, 12, 0, tzinfo=timezone.utc)
SECONDS = 20  # in which any future must be resolved
HOSTILE = [
    "<script>alert(1)</script>",
    "=1+1",
    "a\x00b",
    "half \ud83d",
    "'; DROP TABLE x;--",
    "é\n",
]

WRITER = """
import sys, threading
sys.path[:0] = [sys.argv[2]]
from postgres_server import inspection
from ppcls_sspcab.serving.inspections.log import InspectionLog
log = InspectionLog(sys.argv[1])
lock = threading.Lock()
def write():
    while True:
        row = inspection()
        log.record([row]).result()
        with lock:
            print(row.id, flush=True)
for _ in range(4):
    threading.Thread(target=write).start()
"""


def stored(log: InspectionLog, *rows: Inspection) -> None:
    log.record(rows).result(SECONDS)


def numbered(count: int, **changes: Any) -> list[Inspection]:
    """Inspections one second apart, the oldest first."""
    return [
        inspection(time=START + timedelta(seconds=number), **changes) for number in range(count)
    ]


def test_a_row_holds_what_was_recorded(log: InspectionLog, database: Database) -> None:
    judged = inspection(is_anomaly=True, station="S1", serial="007", picture="2026/05/04/x.png")
    failed = inspection(
        score=None, normalized_score=None, threshold=None, is_anomaly=None, error="not a picture"
    )
    stored(log, judged, failed)
    names = [field.name for field in fields(Inspection)]
    found = {row[0]: row for row in database.rows(f"SELECT {', '.join(names)} FROM inspections")}
    for row in (judged, failed):
        values = dict(zip(names, found[row.id], strict=True))
        moment = values.pop("time")
        if database.is_sqlite:
            moment = datetime.fromisoformat(moment).replace(tzinfo=timezone.utc)
        assert moment == row.time
        assert values == {name: getattr(row, name) for name in names if name != "time"}
        assert log.get(row.id) == row
    assert log.get("0" * 32) is None and log.get("x") is None and log.get("\x00\ud800") is None
    assert [judged.verdict, failed.verdict, inspection().verdict] == [
        "anomalous",
        "unjudged",
        "good",
    ]


def test_any_zone_comes_back_as_utc(log: InspectionLog) -> None:
    row = inspection(time=START.astimezone(timezone(timedelta(hours=5, minutes=30))))
    stored(log, row)
    found = log.get(row.id)
    assert found is not None and found.time == START and found.time.utcoffset() == timedelta(0)
    assert as_utc(datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))).year == 1
    assert as_utc(datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))).year == 9999


def blocked(database: Database) -> Any:
    """A connection whose open transaction keeps all others from writing."""
    connection = database.connect()
    if database.is_sqlite:
        connection.execute("BEGIN IMMEDIATE")
    else:
        connection.execute("LOCK TABLE inspections IN EXCLUSIVE MODE")
    return connection


def test_a_future_is_resolved_after_the_commit_only(log: InspectionLog, database: Database) -> None:
    with closing(blocked(database)) as blocker:
        waiting = log.record([inspection()])
        time.sleep(0.3)
        assert not waiting.done() and not waiting.cancel()
        assert database.rows("SELECT count(*) FROM inspections") == [(0,)]
        blocker.rollback()
    waiting.result(SECONDS)
    assert database.rows("SELECT count(*) FROM inspections") == [(1,)]


def test_rows_that_wait_share_a_commit(log: InspectionLog, database: Database) -> None:
    with closing(blocked(database)) as blocker:
        waiting = [log.record([inspection()]) for _ in range(300)]
        blocker.rollback()
    for future in waiting:
        future.result(SECONDS)
    assert database.rows("SELECT count(*) FROM inspections") == [(300,)]
    if not database.is_sqlite:
        ((commits,),) = database.rows("SELECT count(DISTINCT xmin::text) FROM inspections")
        assert commits <= 3


def test_sqlite_syncs_every_commit(tmp_path: Path) -> None:
    with InspectionLog(f"sqlite:///{tmp_path}/new/inspections.db") as log:
        for engine in (log._writing, log._readers):
            with engine.connect() as connection:
                modes = [
                    connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                    for name in ("journal_mode", "synchronous")
                ]
                assert modes == ["wal", 2]  # 2: FULL


def test_postgresql_waits_for_the_disk_whatever_its_settings(server: PostgresServer) -> None:
    url = server.new_database()
    name = url.rpartition("/")[2]
    Database(url).run(f"ALTER DATABASE {name} SET synchronous_commit = off")
    with InspectionLog(url) as log, log._writing.connect() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"


def test_a_row_given_twice_is_there_once_and_as_at_first(
    log: InspectionLog, database: Database
) -> None:
    row = inspection()
    stored(log, row, row)
    stored(log, replace(row, model="other"))
    assert database.rows("SELECT model FROM inspections") == [("gasket",)]
    stored(log)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "../../etc"},
        {"id": "A" * 32},
        {"time": datetime(2026, 5, 4)},
        {"score": float("nan")},
        {"network_ms": float("inf")},
        {"decode_ms": None},
        {"score": "high"},
    ],
)
def test_a_row_that_is_none_fails_alone(tmp_path: Path, changes: dict[str, Any]) -> None:
    database = Database(f"sqlite:///{tmp_path}/x.db")
    with InspectionLog(database.url) as log:
        good = inspection()
        with pytest.raises(StorageError, match="1 of 2 rows could not be stored"):
            log.record([inspection(**changes), good]).result(SECONDS)
        assert database.rows("SELECT id FROM inspections") == [(good.id,)]


def test_a_row_that_the_database_refuses_fails_alone(
    log: InspectionLog, database: Database
) -> None:
    database.run(
        "CREATE TRIGGER guard BEFORE INSERT ON inspections WHEN NEW.serial = 'bad' "
        "BEGIN SELECT RAISE(ABORT, 'refused here'); END"
        if database.is_sqlite
        else "ALTER TABLE inspections ADD CONSTRAINT guard CHECK (serial <> 'bad')"
    )
    with closing(blocked(database)) as blocker:  # so that all are in one commit
        waiting = [
            log.record([inspection(serial="bad" if number % 7 == 3 else str(number))])
            for number in range(50)
        ]
        blocker.rollback()
    failed = [number for number, future in enumerate(waiting) if future.exception(SECONDS)]
    assert failed == list(range(3, 50, 7))
    found = {int(row[0]) for row in database.rows("SELECT serial FROM inspections")}
    assert found == set(range(50)) - set(failed)
    error = waiting[3].exception()
    assert isinstance(error, StorageError) and "geheim" not in str(error)
    assert "guard" in str(error) or "refused here" in str(error)
    assert log.healthy()


def test_too_many_waiting_rows_are_refused_at_once(
    log: InspectionLog, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "MOST_WAITING", 10)
    with closing(blocked(database)) as blocker:
        waiting = [log.record([inspection()]) for _ in range(12)]
        for refused in waiting[10:]:
            with pytest.raises(StorageError, match="10 rows wait"):
                refused.result(0)
        blocker.rollback()
    for future in waiting[:10]:
        future.result(SECONDS)
    stored(log, *(inspection() for _ in range(20)))  # more in one call than may wait


def test_what_was_taken_is_written_at_the_end(database: Database) -> None:
    log = InspectionLog(database.url)
    waiting = [log.record([inspection()]) for _ in range(100)]
    log.close()
    log.close()
    assert all(future.result(0) is None for future in waiting)
    assert database.rows("SELECT count(*) FROM inspections") == [(100,)]
    assert isinstance(log.record([inspection()]).exception(0), StorageError)
    assert not log.healthy()


def test_pages_go_through_all_newest_first(log: InspectionLog) -> None:
    rows = [replace(row, time=START) for row in numbered(7)] + numbered(8)[1:]
    stored(log, *rows)
    found: list[Inspection] = []
    after = None
    while page := log.find(Query(), limit=4, after=after):
        found += page
        after = (page[-1].time, page[-1].id)
    assert found == sorted(rows, key=lambda row: (row.time, row.id), reverse=True)
    assert log.find(Query(), limit=0) == [] and log.find(Query(), limit=-1) == []


def test_each_condition_and_all_together(log: InspectionLog) -> None:
    base = {"model": "m", "station": "s", "serial": "n", "sha256": "c" * 64, "is_anomaly": True}
    others = {"model": "M", "station": "", "serial": "x", "sha256": "d" * 64, "is_anomaly": None}
    wanted = inspection(time=START, **base)
    rows = {name: inspection(time=START, **{**base, name: other}) for name, other in others.items()}
    early = inspection(time=START - timedelta(microseconds=1), **base)
    late = inspection(time=START + timedelta(microseconds=1), **base)
    stored(log, wanted, early, late, *rows.values())
    until = START + timedelta(microseconds=1)
    query = Query("m", "s", "n", "anomalous", START, until, "c" * 64)
    assert log.find(query) == [wanted]
    assert log.count(query) == {"good": 0, "anomalous": 1, "unjudged": 0}
    naive = replace(query, since=START.replace(tzinfo=None), until=until.replace(tzinfo=None))
    assert log.find(naive) == [wanted]
    for name, row in rows.items():
        field = "verdict" if name == "is_anomaly" else name
        assert log.find(replace(query, **{field: None}), limit=9) in (
            [wanted, row],
            [row, wanted],
        )
    assert log.find(replace(query, since=None))[-1] == early
    assert log.find(replace(query, until=None))[0] == late
    assert log.find(replace(query, verdict="unjudged")) == [rows["is_anomaly"]]
    assert log.find(Query(station="")) == [rows["station"]]
    assert log.count(Query()) == {"good": 0, "anomalous": len(rows) + 2, "unjudged": 1}
    assert log.find(Query(serial="\x00\ud800")) == []
    with pytest.raises(ValueError, match="verdict"):
        Query(verdict="bad")  # type: ignore[arg-type]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_stored_and_found(
    log: InspectionLog, database: Database, text: str
) -> None:
    names = ("model", "request_id", "name", "station", "serial", "error")
    row = inspection(**dict.fromkeys(names, text))
    stored(log, row)
    kept = text.replace("\x00", "\ufffd").replace("\ud83d", "\ufffd")
    assert database.rows(f"SELECT {', '.join(names)} FROM inspections") == [(kept,) * len(names)]
    assert log.find(Query(model=text, station=text, serial=text)) == [log.get(row.id)]
    (line,) = csv.DictReader(io.StringIO("".join(log.csv(Query()))))
    assert not line["serial"].startswith("=") and "\x00" not in line["serial"]


def test_long_texts_are_cut(log: InspectionLog) -> None:
    texts = {name: "ü" * 5000 for name in LENGTHS if name != "id"}
    row = inspection(**texts)
    stored(log, row)
    found = log.get(row.id)
    assert found is not None
    assert {name: len(getattr(found, name)) for name in texts} == {
        name: length for name, length in LENGTHS.items() if name != "id"
    }
    assert log.find(Query(serial="ü" * 5000)) == [found]


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(), max_size=40), score=st.floats(allow_nan=False, width=32))
def test_any_text_and_number_comes_back(log: InspectionLog, text: str, score: float) -> None:
    row = inspection(serial=text, score=score, is_anomaly=score > 0)
    future = log.record([row])
    if abs(score) == float("inf"):
        assert isinstance(future.exception(SECONDS), StorageError)
        return
    future.result(SECONDS)
    kept = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    found = log.get(row.id)
    assert found is not None and found.score == score
    if "\ufffd" not in kept:
        assert found.serial == text.replace("\x00", "\ufffd")


def test_csv_is_read_by_others(log: InspectionLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "PAGE", 3)
    rows = [*numbered(9, serial="=1+1"), inspection(time=START, is_anomaly=None, score=None)]
    stored(log, *rows)
    lines = list(csv.DictReader(io.StringIO("".join(log.csv(Query())), newline="")))
    expected = sorted(rows, key=lambda row: (row.time, row.id))
    assert list(lines[0]) == [field.name for field in fields(Inspection)]
    assert [line["id"] for line in lines] == [row.id for row in expected]
    for line, row in zip(lines, expected, strict=True):
        assert datetime.fromisoformat(line["time"]) == row.time
        assert line["time"].endswith("+00:00")
        assert line["score"] == ("" if row.score is None else "1.5")
        assert line["is_anomaly"] == ("" if row.is_anomaly is None else "false")
        assert line["serial"] in ("'=1+1", "")
    empty = "".join(log.csv(Query(model="none")))
    assert empty.count("\n") == 1 and empty.startswith("id,time,model,")


def test_parquet_is_read_by_others(
    log: InspectionLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", exc_type=ImportError)
    monkeypatch.setattr(log_module, "PAGE", 3)
    rows = [*numbered(8, serial="=1+1"), inspection(is_anomaly=None, score=None)]
    stored(log, *rows)
    log.parquet(Query(), tmp_path / "out.parquet")
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.to_pylist() == [vars(row) for row in rows]
    assert str(table.schema.field("time").type) == "timestamp[us, tz=UTC]"
    assert str(table.schema.field("is_anomaly").type) == "bool"
    assert not table.schema.field("id").nullable and table.schema.field("score").nullable
    log.parquet(Query(model="none"), tmp_path / "out.parquet")
    assert parquet.read_table(tmp_path / "out.parquet").num_rows == 0
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError):
        log.parquet(Query(), tmp_path / "folder")


def test_an_export_ends_though_rows_go_on_coming(
    log: InspectionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "PAGE", 2)
    stored(log, *numbered(6))
    lines = 0
    for piece in log.csv(Query()):
        lines += piece.count("\n")
        stored(log, inspection(), inspection())
        assert lines < 30
    assert lines == 1 + 6


@pytest.mark.slow
def test_an_export_takes_no_more_memory_for_more_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "PAGE", 100)

    def peak(log: InspectionLog) -> int:
        tracemalloc.start()
        for _ in log.csv(Query()):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    with InspectionLog(f"sqlite:///{tmp_path}/x.db") as log:
        stored(log, *numbered(200))
        peak(log)  # SQLAlchemy keeps the compiled statement
        few = peak(log)
        stored(log, *numbered(4000))
        assert peak(log) < 1.5 * few


def test_pictures_of_rows(log: InspectionLog) -> None:
    rows = [replace(row, picture=f"2026/05/04/{row.id}.png") for row in numbered(3)]
    stored(log, *rows)
    names = [rows[0].picture, rows[2].picture, f"2026/05/04/{'0' * 32}.png", "../x"]
    assert log.picture_times(names) == {row.picture: row.time for row in (rows[0], rows[2])}
    log.remove_pictures(names)
    assert log.find(Query()) == [
        replace(rows[2], picture=""),
        rows[1],
        replace(rows[0], picture=""),
    ]
    # An earlier path of the same inspection is not its picture.
    log.remove_pictures([f"2025/01/01/{rows[1].id}.png"])
    assert log.get(rows[1].id) == rows[1]


def test_a_wrong_place_is_named_without_its_password(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database, but a text that is long enough " * 40)
    (tmp_path / "file").touch()
    secret = "postgresql://me:geheim@127.0.0.1:1/x?sslpassword=geheim"
    urls = {
        secret: "cannot be opened: .*refused",
        "postgresql+psycopg2://me:geheim@h/x": "not supported",
        "mysql://me:geheim@h/x": "'mysql' with this driver is not supported",
        "geheim": "cannot be read: give sqlite:///FILE",
        "postgresql://me:geheim@h:port/x": "cannot be read",
        "sqlite://": "are kept in a file",
        "sqlite:///:memory:": "are kept in a file",
        f"sqlite:///{tmp_path}/text.db": "file is not a database",
        f"sqlite:///{tmp_path}": "unable to open database file",
    }
    for url, text in urls.items():
        with pytest.raises(UserError, match=text) as caught:
            InspectionLog(url)
        assert "geheim" not in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(OutputError, match="cannot be written"):
        InspectionLog(f"sqlite:///{tmp_path}/file/x.db")


def test_an_encoding_that_cannot_hold_every_text_is_refused(server: PostgresServer) -> None:
    url = server.new_database("ENCODING 'SQL_ASCII' TEMPLATE template0")
    with pytest.raises(UserError, match=r"encoding is SQL_ASCII.*UTF8"):
        InspectionLog(url)


def test_health_follows_a_database_that_cannot_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "PAUSES", ())
    monkeypatch.setattr(writer_module, "PAUSES_WHEN_DOWN", ())
    monkeypatch.setattr("ppcls_sspcab.serving.inspections.database.BUSY_SECONDS", 0.1)
    database = Database(f"sqlite:///{tmp_path}/x.db")
    with InspectionLog(database.url) as log:
        assert log.healthy()
        with closing(blocked(database)) as blocker:
            with pytest.raises(StorageError, match="locked"):
                log.record([inspection()]).result(SECONDS)
            assert not log.healthy()
            blocker.rollback()
        assert log.healthy()
        stored(log, inspection())
        assert log.healthy()


def test_a_server_that_hangs_is_not_healthy(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "HEALTHY_SECONDS", 0.3)
    database = Database(server.new_database())
    with InspectionLog(database.url) as log:
        assert log.healthy()
        ((backend,),) = database.rows(
            "SELECT max(pid) FROM pg_stat_activity "
            "WHERE application_name = 'ppcls_sspcab' AND datname = current_database()"
        )
        os.kill(backend, signal.SIGSTOP)
        try:
            start = time.monotonic()
            assert not log.healthy() and not log.healthy()
            assert time.monotonic() - start < 2
        finally:
            os.kill(backend, signal.SIGCONT)
        end = time.monotonic() + SECONDS
        while not log.healthy():
            assert time.monotonic() < end


@pytest.mark.slow
def test_a_server_may_restart_while_rows_are_written(server: PostgresServer) -> None:
    database = Database(server.new_database())
    with InspectionLog(database.url) as log:
        waiting: list[tuple[str, Future[None]]] = []
        stopping = threading.Event()

        def write() -> None:
            while not stopping.is_set():
                row = inspection()
                waiting.append((row.id, log.record([row])))
                time.sleep(0.001)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for _ in range(2):
                time.sleep(0.4)
                server.stop()
                assert not log.healthy()
                time.sleep(0.2)
                server.start()
            time.sleep(0.3)
        finally:
            stopping.set()
            thread.join()
        for _, future in waiting:
            future.result(SECONDS)
        assert log.healthy() and len(log.find(Query(), limit=5)) == 5
    found = Counter(row[0] for row in database.rows("SELECT id FROM inspections"))
    assert found == Counter(id for id, _ in waiting) and len(waiting) > 200


def test_a_server_that_stays_away_fails_the_rows_and_is_used_again(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "PAUSES", (0.05, 0.1))
    database = Database(server.new_database())
    with InspectionLog(database.url) as log:
        stored(log, inspection())
        server.stop()
        try:
            rows = [inspection(), inspection()]
            for row in rows:
                with pytest.raises(StorageError) as caught:
                    log.record([row]).result(SECONDS)
                assert "geheim" not in str(caught.value) and "\n" not in str(caught.value)
            for read in (lambda: log.get(rows[0].id), lambda: list(log.csv(Query()))):
                with pytest.raises(StorageError, match="does not answer"):
                    read()
            assert not log.healthy()
        finally:
            server.start()
        assert log.healthy()
        stored(log, *rows)
        assert log.count(Query())["good"] == 3


@pytest.mark.slow
def test_what_a_killed_process_acknowledged_is_there_once(database: Database) -> None:
    acknowledged: list[str] = []
    for round_ in range(3):
        words = [sys.executable, "-c", WRITER, database.url, str(Path(__file__).parent)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(20 + 15 * round_):
                acknowledged.append(process.stdout.readline().strip())
            process.kill()
            rest = process.stdout.read().split("\n")
        acknowledged += [line for line in rest if len(line) == 32]
    found = Counter(row[0] for row in database.rows("SELECT id FROM inspections"))
    assert set(acknowledged) <= set(found) and set(found.values()) == {1}
    assert len(acknowledged) >= 100
    if database.is_sqlite:
        path = database.url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_threads_may_record_and_read_together(log: InspectionLog) -> None:
    problems: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(10):
                row = inspection()
                stored(log, row)
                assert log.get(row.id) == row
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(12)]  # more than readers' connections
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == [] and log.count(Query())["good"] == 120


def test_the_driver_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UserError, match="pip install"):
        InspectionLog("postgresql://h/x")
    assert psycopg is not None
