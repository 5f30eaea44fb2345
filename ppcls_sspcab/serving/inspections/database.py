"""Opening SQLite or PostgreSQL by its URL, and bringing the tables in it up to date."""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from ppcls_sspcab.errors import UserError
from ppcls_sspcab.utils.files import naming_output

MIGRATIONS = Path(__file__).parent / "migrations"

BUSY_SECONDS = 5.0  # that SQLite waits for another process's transaction
POOL_SECONDS = 5.0  # that a reader waits for a free connection
# A server that has gone without a word is noticed after some seconds, not after the hours of TCP.
_POSTGRESQL = {
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",  # milliseconds
    "client_encoding": "utf8",
    "application_name": "ppcls_sspcab",
}
_MIGRATING = 0x70706C63  # key of the advisory lock; any number that no one else uses
_FORMS = "give sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"

_one_at_a_time = threading.Lock()  # Alembic keeps its context in global names


def parsed(address: str) -> URL:
    """The URL of a database, with the driver that is used for it.

    Raises:
        UserError: no URL, or of another kind of database; its text does not quote the URL, which
            may hold a password.
    """
    try:
        url = make_url(re.sub("^postgres://", "postgresql://", address))
    except (ArgumentError, ValueError):
        raise UserError(f"the database's URL cannot be read: {_FORMS}") from None
    kind = url.get_backend_name()
    if url.drivername in ("postgresql", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise UserError(f"{shown(url)}: {kind!r} with this driver is not supported: {_FORMS}")
    if not url.database or url.database == ":memory:" or "uri" in url.query or url.host:
        raise UserError(f"{shown(url)}: inspections are kept in a file: give sqlite:///FILE")
    return url


def shown(url: URL) -> str:
    """The URL as it may stand in a message: no password, nor the options, which may hold one."""
    return url.set(query={}).render_as_string(hide_password=True)


def reason(error: Exception, url: URL) -> str:
    """What the driver says, on one line and without the password."""
    said = error.orig if isinstance(error, DBAPIError) and error.orig else error
    line = " ".join(str(said).split()) or type(said).__name__
    secrets = [url.password, *(url.query.get(name) for name in ("password", "sslpassword"))]
    for secret in secrets:
        if secret:
            line = line.replace(str(secret), "***")
    return line


def engine_of(url: URL, connections: int) -> Engine:
    """An engine that connects when it is used, and anew where a connection was lost.

    SQLite is in WAL mode, so readers do not wait for the writer, and ``synchronous=FULL``, which
    syncs the log in each commit: with the default of many builds, NORMAL, a row that was
    acknowledged is lost when the power fails.

    Args:
        url: as :func:`parsed` gives it.
        connections: most at a time.

    Raises:
        UserError: the driver is not installed.
    """
    options: dict[str, Any] = {
        "pool_size": connections,
        "max_overflow": 0,
        "pool_timeout": POOL_SECONDS,
        "pool_pre_ping": True,
    }
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, **options)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    defaults = {name: value for name, value in _POSTGRESQL.items() if name not in url.query}
    try:
        engine = create_engine(url, connect_args=defaults, **options)
    except ImportError as error:
        raise UserError(
            f"{shown(url)}: PostgreSQL needs psycopg: pip install 'psycopg[binary]'"
        ) from error
    event.listen(engine, "connect", _set_up_postgresql)
    return engine


def migrate(engine: Engine) -> None:
    """Makes the tables, or brings those of an older version up to date, in one transaction.

    Of several processes that start together one does it, and the others wait.

    Raises:
        UserError: no server, no permission, no database, one of a newer version; one line, without
            the password.
    """
    url = engine.url
    where = shown(url)
    if url.get_backend_name() == "sqlite":
        assert url.database is not None
        with naming_output(url.database):
            Path(url.database).absolute().parent.mkdir(parents=True, exist_ok=True)
    try:
        with _one_at_a_time, engine.connect() as connection:
            if url.get_backend_name() == "sqlite":
                _use_wal(connection)
                connection.execution_options(immediate=True)
            with connection.begin():
                if url.get_backend_name() == "postgresql":
                    _prepare_postgresql(connection, where)
                _upgrade(connection, where)
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise UserError(
            f"{where}: the database cannot be opened: {reason(error, url)}; see that it is there, "
            "reachable and writable"
        ) from error


def _upgrade(connection: Connection, where: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    found = set(MigrationContext.configure(connection).get_current_heads())
    if found - known:
        raise UserError(
            f"{where}: the database is of a newer version ({', '.join(sorted(found - known))}): "
            "update ppcls_sspcab, or name another database"
        )
    if found != set(scripts.get_heads()):
        command.upgrade(config, "head")


def _prepare_postgresql(connection: Connection, where: str) -> None:
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise UserError(
            f"{where}: the database's encoding is {encoding}, which cannot hold every text: create "
            "it with ENCODING 'UTF8'"
        )
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATING})


def _use_wal(connection: Connection) -> None:
    """Sets the mode of the file, once for all; SQLite does not wait here for others by itself."""
    end = time.monotonic() + BUSY_SECONDS
    with closing(connection.connection.cursor()) as cursor:
        while True:
            try:
                cursor.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > end:
                    raise
                time.sleep(0.05)


def _set_up_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # _begin_sqlite says when a transaction begins
    connection.execute("PRAGMA synchronous=FULL")


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _set_up_postgresql(connection: Any, _: object) -> None:
    """Commits wait for the disk, even where the server's settings would not have it so."""
    with closing(connection.cursor()) as cursor:
        cursor.execute(
            "SELECT set_config('synchronous_commit', 'on', false) "
            "WHERE current_setting('synchronous_commit') = 'off'"
        )
    connection.commit()
