"""The schema: made from nothing, the same as the code's, and never guessed at."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from databases import Database
from postgres_server import PostgresServer, inspection
from sqlalchemy import inspect

from ppcls_sspcab.errors import UserError
from ppcls_sspcab.serving.inspections.database import MIGRATIONS, engine_of, parsed
from ppcls_sspcab.serving.inspections.log import InspectionLog
from ppcls_sspcab.serving.inspections.record import Inspection
from ppcls_sspcab.serving.inspections.schema import INSPECTIONS, METADATA

STARTER = """
import sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[3]]
from postgres_server import inspection
from ppcls_sspcab.serving.inspections.log import InspectionLog
import alembic.command
go = Path(sys.argv[2])
print("ready", flush=True)
while not go.exists():
    time.sleep(0.001)
with InspectionLog(sys.argv[1]) as log:
    log.record([inspection()]).result()
"""


def test_the_migrations_make_what_the_code_says(log: InspectionLog) -> None:
    with log._readers.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
        for column in inspect(connection).get_columns("inspections"):
            assert column["nullable"] == INSPECTIONS.columns[column["name"]].nullable


def test_columns_are_the_attributes_in_their_order() -> None:
    assert [column.name for column in INSPECTIONS.columns] == [
        field.name for field in fields(Inspection)
    ]


def test_a_second_start_changes_nothing(database: Database) -> None:
    row = inspection()
    for _ in range(2):
        with InspectionLog(database.url) as log:
            log.record([row]).result(20)
    assert database.rows("SELECT id FROM inspections") == [(row.id,)]
    assert database.rows("SELECT version_num FROM alembic_version") == [("0001",)]


def test_a_newer_database_is_refused_and_left_alone(database: Database) -> None:
    InspectionLog(database.url).close()
    database.run("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(UserError, match=r"newer version \(9999\): update") as caught:
        InspectionLog(database.url)
    assert "geheim" not in str(caught.value)
    assert database.rows("SELECT version_num FROM alembic_version") == [("9999",)]


def test_a_start_that_fails_leaves_nothing_half_made(database: Database) -> None:
    """The last index cannot be made: there is a table of its name."""
    database.run("CREATE TABLE inspections_sha256 (x INTEGER)")
    with pytest.raises(UserError, match=r"cannot be opened: .*already"):
        InspectionLog(database.url)
    database.run("DROP TABLE inspections_sha256")
    InspectionLog(database.url).close()


@pytest.mark.slow
def test_processes_that_start_together_share_one_empty_database(
    database: Database, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    words = [sys.executable, "-c", STARTER, database.url, str(go), str(Path(__file__).parent)]
    processes = [
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    go.touch()
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert database.rows("SELECT count(*) FROM inspections") == [(3,)]


def test_an_upgrade_waits_for_another_process(server: PostgresServer) -> None:
    """Who holds the lock is migrating; a start that times out meanwhile says so on one line."""
    url = server.new_database()
    with closing(Database(url).connect()) as other:
        other.execute(f"SELECT pg_advisory_lock({0x70706C63})")
        with pytest.raises(UserError, match="lock timeout"):
            InspectionLog(f"{url}?options=-c%20lock_timeout%3D200")
    InspectionLog(url).close()


def test_a_role_that_may_not_make_tables_is_told(server: PostgresServer) -> None:
    url = server.new_database()
    Database(url).run("DROP ROLE IF EXISTS visitor", "CREATE ROLE visitor LOGIN")
    with pytest.raises(UserError, match="permission denied"):
        InspectionLog(url.replace("postgres:geheim", "visitor"))


def test_a_path_with_percent_signs_and_spaces(tmp_path: Path) -> None:
    folder = tmp_path / "a b%c"
    InspectionLog(f"sqlite:///{folder}/x.db").close()
    assert (folder / "x.db").exists()


def test_every_step_is_in_a_package_so_that_wheels_have_it() -> None:
    for file in MIGRATIONS.rglob("*.py"):
        assert (file.parent / "__init__.py").exists()
    assert engine_of(parsed("postgres://h/x"), 1).url.drivername == "postgresql+psycopg"
