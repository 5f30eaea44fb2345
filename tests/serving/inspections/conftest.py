"""The databases that each test of the log runs with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from databases import Database
from postgres_server import PostgresServer

from ppcls_sspcab.serving.inspections.log import InspectionLog


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server; without its programs the test is skipped."""
    server = PostgresServer()
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        return Database(f"sqlite:///{tmp_path}/inspections.db")
    server: PostgresServer = request.getfixturevalue("server")
    return Database(server.new_database())


@pytest.fixture
def log(database: Database) -> Iterator[InspectionLog]:
    with InspectionLog(database.url) as log:
        yield log
