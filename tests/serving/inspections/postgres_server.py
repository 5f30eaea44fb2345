"""A PostgreSQL server of its own for the tests, and what inspections they write."""

from __future__ import annotations

import glob
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ppcls_sspcab.serving.inspections.record import Inspection

PROGRAMS = ["/usr/local/pgsql/bin", *sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)]


class PostgresServer:
    """A server on loopback, in a folder of its own that goes with it."""

    def __init__(self) -> None:
        where = os.pathsep.join([os.environ.get("PATH", ""), *PROGRAMS])
        found = {name: shutil.which(name, path=where) for name in ("initdb", "postgres")}
        if not all(found.values()):
            pytest.skip("PostgreSQL's programs initdb and postgres are not installed")
        self._postgres = str(found["postgres"])
        # Below a folder of pytest's another user could read nothing.
        self._folder = Path(tempfile.mkdtemp(prefix="ppcls_sspcab-postgres-"))
        # The server refuses to run as root.
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
            shutil.chown(self._folder, "nobody", "nogroup")
        self._data = self._folder / "data"
        words = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C"]
        subprocess.run(
            [str(found["initdb"]), "-D", str(self._data), *words, "--no-sync"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self._folder,
            **self._user,
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",  # the machine stays on; what is killed are processes
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._postgres, "-D", str(self._data), *words],
                stdout=log,
                stderr=log,
                cwd=self._folder,
                **self._user,
            )
        end = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        """Ends it as a crash would (SIGQUIT): clients are cut off, the next start recovers."""
        if self._process is not None:
            self._process.send_signal(3)
            self._process.wait(timeout=30)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, database: str) -> str:
        return f"postgresql://postgres:geheim@127.0.0.1:{self.port}/{database}"

    def new_database(self, options: str = "") -> str:
        """The URL of a new, empty database."""
        name = f"db{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} {options}")
        return self.url(name)


def inspection(**changes: Any) -> Inspection:
    """A good part, seen now, but for the changes."""
    values: dict[str, Any] = {
        "id": uuid.uuid4().hex,
        "time": datetime.now(timezone.utc),
        "model": "gasket",
        "model_version": "1",
        "backend": "onnx",
        "precision": "fp32",
        "request_id": "request-1",
        "name": "part.png",
        "sha256": "ab" * 32,
        "score": 1.5,
        "normalized_score": 0.25,
        "threshold": 2.0,
        "is_anomaly": False,
        "decode_ms": 1.25,
        "queue_ms": 0.5,
        "network_ms": 8.0,
    }
    return Inspection(**{**values, **changes})
