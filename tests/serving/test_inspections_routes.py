"""What was judged, asked for over HTTP."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from served import Running, picture, running, settings_for

ADDRESS = "/v1/inspections"
# Brightness, station and serial number of the pictures; 128 and above is an anomaly.
SENT = [(10, "A", "1"), (200, "A", "2"), (30, "B", "3"), (240, "B", "4"), (-1, "B", "5")]


@pytest.fixture(scope="module")
def judged(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that has judged five pictures, one of them unreadable."""
    with running(settings_for(model, tmp_path_factory.mktemp("judged"))) as served:
        with served.client() as client:
            for value, station, serial in SENT:
                client.post(
                    "/v1/models/lamp/predict",
                    content=picture(value) if value >= 0 else b"no picture",
                    params={"station": station, "serial": serial, "path": "=1+1"},
                )
        yield served


@pytest.fixture
def client(judged: Running) -> Iterator[httpx.Client]:
    with judged.client() as client:
        yield client


def serials(client: httpx.Client, **query: object) -> list[str]:
    found = client.get(ADDRESS, params=query).json()  # type: ignore[arg-type]
    return [one["serial"] for one in found["inspections"]]


def test_newest_first_and_by_every_condition(client: httpx.Client) -> None:
    assert serials(client) == ["5", "4", "3", "2", "1"]
    assert serials(client, station="B") == ["5", "4", "3"]
    assert serials(client, verdict="anomalous") == ["4", "2"]
    assert serials(client, verdict="unjudged") == ["5"]
    assert serials(client, model="no") == []
    third = client.get(ADDRESS, params={"serial": "3"}).json()["inspections"][0]
    assert serials(client, since=third["time"]) == ["5", "4", "3"]
    assert serials(client, until=third["time"]) == ["2", "1"]
    assert serials(client, sha256=third["sha256"]) == ["3"]
    assert client.get(f"{ADDRESS}/{third['id']}").json() == third


def test_pages_go_on_where_the_last_one_ended(client: httpx.Client) -> None:
    first = client.get(ADDRESS, params={"limit": 2}).json()
    second = client.get(ADDRESS, params={"limit": 2, "after": first["after"]}).json()
    third = client.get(ADDRESS, params={"limit": 2, "after": second["after"]}).json()
    pages = [first, second, third]
    assert [one["serial"] for page in pages for one in page["inspections"]] == list("54321")
    assert third["after"] is None
    assert client.get(ADDRESS, params={"after": "nobody"}).status_code == 400


def test_counts(client: httpx.Client) -> None:
    counts = client.get(f"{ADDRESS}/counts").json()
    assert counts == {"good": 2, "anomalous": 2, "unjudged": 1}
    counts = client.get(f"{ADDRESS}/counts", params={"station": "A"}).json()
    assert counts == {"good": 1, "anomalous": 1, "unjudged": 0}


def test_csv_holds_all_and_no_formula(client: httpx.Client) -> None:
    answer = client.get(f"{ADDRESS}/export.csv", params={"station": "B"})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["serial"] for row in rows] == ["3", "4", "5"]
    assert [row["is_anomaly"] for row in rows] == ["false", "true", ""]
    assert all(row["name"].startswith("'=") for row in rows)


def test_parquet_holds_the_same(client: httpx.Client) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="no pyarrow that fits this numpy")
    answer = client.get(f"{ADDRESS}/export.parquet")
    rows = parquet.read_table(io.BytesIO(answer.content)).to_pylist()
    assert [row["serial"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [row["is_anomaly"] for row in rows] == [False, True, False, True, None]
    assert rows[0]["score"] == pytest.approx(10 / 255, abs=1e-5)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?limit=0", 400),
        ("?limit=1001", 400),
        ("?verdict=bad", 400),
        ("?since=yesterday", 400),
        ("?since=0001-01-01T00:00:00%2B14:00", 200),
        ("?until=9999-12-31T23:59:59-14:00", 200),
        ("/" + "0" * 32, 404),
        ("/../../etc/passwd", 404),
        ("/nobody", 400),
    ],
)
def test_what_makes_no_sense_is_said(client: httpx.Client, query: str, status: int) -> None:
    answer = client.get(ADDRESS + query)
    assert answer.status_code == status
    if status != 200:
        assert answer.json()["error"]
