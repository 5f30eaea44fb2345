"""A database of a test, read by its own driver."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import psycopg


class Database:
    """An empty database, and how to look into it without the package."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")

    def connect(self) -> Any:
        """The driver's own connection; nothing is committed by itself."""
        if self.is_sqlite:
            return sqlite3.connect(self.url.removeprefix("sqlite:///"), isolation_level=None)
        return psycopg.connect(self.url)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(self.connect()) as connection:
            return [tuple(row) for row in connection.execute(sql).fetchall()]

    def run(self, *statements: str) -> None:
        with closing(self.connect()) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()
