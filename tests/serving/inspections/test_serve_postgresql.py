"""The service on a PostgreSQL server that goes away and comes back."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest
from databases import Database
from postgres_server import PostgresServer
from served import Process, picture, wait_for

PREDICT = "/v1/models/lamp/predict"

pytestmark = pytest.mark.slow


def test_a_restarted_server_loses_and_doubles_no_answered_inspection(
    server: PostgresServer, model: Path, tmp_path: Path
) -> None:
    url = server.new_database()
    words = ["--model", f"lamp={model}", "--backend", "onnx", "--threads", "1", "--database", url]
    answered: list[str] = []
    statuses: set[int] = set()
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=served.url, timeout=60) as client:
            while not stop.is_set():
                try:
                    answer = client.post(PREDICT, content=picture(1))
                except httpx.TransportError:
                    return
                statuses.add(answer.status_code)
                if answer.status_code == 200:
                    answered.append(answer.json()["inspections"][0]["id"])

    with Process(tmp_path, words) as served:
        served.wait_until_ready()
        callers = [threading.Thread(target=ask) for _ in range(4)]
        for caller in callers:
            caller.start()
        for _ in range(2):
            before = len(answered)
            wait_for(lambda before=before: len(answered) > before + 20)
            server.stop()
            server.start()
        before = len(answered)
        wait_for(lambda: len(answered) > before + 20)
        stop.set()
        for caller in callers:
            caller.join(60)
        assert httpx.get(f"{served.url}/health/ready").status_code == 200
    assert statuses <= {200, 503}
    rows = [row[0] for row in Database(url).rows("select id from inspections")]
    assert len(set(rows)) == len(rows)
    assert set(answered) <= set(rows)
    assert len(answered) == len(set(answered))
