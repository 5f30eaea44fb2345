"""The project's own protocol, over HTTP, against the predictor and the database."""

from __future__ import annotations

import base64
import hashlib
import io
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from served import Running, picture, running, settings_for, wait_for

from ppcls_sspcab.runtime.predictor import Predictor

PREDICT = "/v1/models/lamp/predict"


def rows(served: Running, what: str = "count(*)", where: str = "1") -> list[tuple]:
    """Of the database's file, by the standard library."""
    path = str(served.service.settings.database).removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        return connection.execute(f"select {what} from inspections where {where}").fetchall()


def test_a_picture_as_the_body_is_judged_as_predict_judges_it(served: Running, model: Path) -> None:
    content = picture(204)
    (expected,) = Predictor(model, "onnx", threads=1).predict([content])
    with served.client() as client:
        answer = client.post(
            PREDICT, content=content, params={"path": "a.png", "station": "S1", "serial": "4711"}
        )
    assert answer.status_code == 200
    found = answer.json()
    (one,) = found["inspections"]
    assert (found["good"], found["anomalous"], found["unjudged"]) == (0, 1, 0)
    assert one["score"] == pytest.approx(expected.score, rel=1e-6)
    assert one["normalized_score"] == pytest.approx(expected.normalized_score, rel=1e-6)
    assert (one["is_anomaly"], one["verdict"]) == (True, "anomalous")
    assert (one["path"], one["station"], one["serial"]) == ("a.png", "S1", "4711")
    assert (one["model"], one["model_version"]) == ("lamp", "v-test")
    assert one["sha256"] == hashlib.sha256(content).hexdigest()
    assert one["request_id"] == found["request_id"] == answer.headers["x-request-id"]
    assert all(one["timings"][name] >= 0 for name in ("decode_ms", "queue_ms", "network_ms"))
    stored = rows(served, "score, is_anomaly, station, serial, name", f"id = '{one['id']}'")
    assert stored == [(pytest.approx(one["score"]), 1, "S1", "4711", "a.png")]


def test_several_pictures_of_a_form_come_back_in_their_order(served: Running) -> None:
    values = [10, 250, 90, 130, 20]
    parts = [("pictures", (f"{value}.png", picture(value), "image/png")) for value in values]
    parts.insert(2, ("pictures", ("broken.png", b"no picture", "image/png")))
    with served.client() as client:
        found = client.post(PREDICT, files=parts).json()
    names = [one["path"] for one in found["inspections"]]
    assert names == ["10.png", "250.png", "broken.png", "90.png", "130.png", "20.png"]
    verdicts = [one["verdict"] for one in found["inspections"]]
    assert verdicts == ["good", "anomalous", "unjudged", "good", "anomalous", "good"]
    assert (found["good"], found["anomalous"], found["unjudged"]) == (3, 2, 1)
    assert "no picture of a known kind" in found["inspections"][2]["error"]


def test_what_cannot_be_judged_is_no_good_part_and_is_a_row(served: Running) -> None:
    before = rows(served, where="is_anomaly is null")[0][0]
    with served.client() as client:
        answer = client.post(PREDICT, content=b"no picture")
    assert answer.status_code == 422
    (one,) = answer.json()["inspections"]
    assert (one["is_anomaly"], one["score"], one["verdict"]) == (None, None, "unjudged")
    assert rows(served, where="is_anomaly is null")[0][0] == before + 1


def test_maps_come_on_request_as_sixteen_bits(served: Running, model: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    (expected,) = Predictor(model, "onnx", threads=1).predict([pixels])
    with served.client() as client:
        without = client.post(PREDICT, content=stream.getvalue()).json()
        found = client.post(PREDICT, content=stream.getvalue(), params={"maps": True}).json()
    assert without["inspections"][0]["map_png"] is None
    sent = base64.b64decode(found["inspections"][0]["map_png"])
    values = np.asarray(Image.open(io.BytesIO(sent))).astype(np.float64) / 65535
    np.testing.assert_allclose(values, expected.map, atol=1e-5)


def test_many_callers_at_once_get_their_own_answers(served: Running) -> None:
    values = [int(value) for value in np.random.default_rng(1).integers(0, 256, 200)]

    def ask(value: int) -> dict:
        answer = client.post(PREDICT, content=picture(value), params={"path": str(value)})
        return answer.json()["inspections"][0]

    before = rows(served)[0][0]
    with served.client() as client, ThreadPoolExecutor(32) as callers:
        found = list(callers.map(ask, values))
    assert [one["path"] for one in found] == [str(value) for value in values]
    scores = [one["score"] for one in found]
    np.testing.assert_allclose(scores, np.array(values) / 255, atol=1e-5)
    assert len({one["id"] for one in found}) == 200
    assert rows(served)[0][0] == before + 200


@pytest.mark.parametrize(
    ("path", "content", "headers", "status", "text"),
    [
        ("/v1/models/no/predict", b"x", {}, 404, "no model 'no'"),
        (PREDICT, b"", {}, 400, "empty"),
        (PREDICT, b"x", {"content-type": "multipart/form-data"}, 400, "form"),
        (PREDICT, b"x", {"content-type": "multipart/form-data; boundary=a"}, 400, "form"),
        (PREDICT + "?maps=perhaps", b"x", {}, 400, "query.maps"),
        (PREDICT + "?station=" + "s" * 201, b"x", {}, 400, "query.station"),
    ],
)
def test_a_malformed_request_is_one_line(
    served: Running, path: str, content: bytes, headers: dict, status: int, text: str
) -> None:
    with served.client() as client:
        answer = client.post(path, content=content, headers=headers)
    assert answer.status_code == status
    assert text in answer.json()["error"]


def test_limits_of_pictures_and_pixels(model: Path, tmp_path: Path) -> None:
    settings = settings_for(model, tmp_path, pictures=2, megapixels=0.001, body_mib=0.01)
    with running(settings) as served, served.client() as client:
        parts = [("pictures", (f"{n}.png", picture(n), "image/png")) for n in range(3)]
        assert client.post(PREDICT, files=parts).status_code == 413
        large = client.post(PREDICT, content=picture(9, size=(100, 100)))
        assert large.status_code == 422
        assert "100x100 pixels are more than 1000" in large.json()["inspections"][0]["error"]
        assert client.post(PREDICT, content=bytes(20_000)).status_code == 413
        assert client.post(PREDICT, files=parts[:2]).status_code == 200


def test_a_full_queue_says_when_to_come_again(model: Path, tmp_path: Path) -> None:
    settings = settings_for(model, tmp_path, queue=2, pictures=2)
    with running(settings) as served, served.client() as client:
        parts = [("pictures", (f"{n}.png", picture(n), "image/png")) for n in range(2)]
        with served.service.models["lamp"].batcher.reserved(1):
            answer = client.post(PREDICT, files=parts)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert rows(served)[0][0] == 0
        assert client.post(PREDICT, files=parts).status_code == 200


def test_what_cannot_be_stored_is_not_answered_as_a_verdict(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(settings_for(model, tmp_path)) as served, served.client() as client:
        assert client.post(PREDICT, content=picture(1)).status_code == 200
        with sqlite3.connect(tmp_path / "inspections.db") as connection:
            connection.execute("alter table inspections rename to elsewhere")
        answer = client.post(PREDICT, content=picture(1))
        assert answer.status_code == 503
        assert "could not be stored" in answer.json()["error"]
        assert client.get("/health/ready").status_code in (200, 503)
        failures = "sspcab_storage_failures_total 1.0"
        assert failures in client.get("/metrics").text
        with sqlite3.connect(tmp_path / "inspections.db") as connection:
            connection.execute("alter table elsewhere rename to inspections")
        assert client.post(PREDICT, content=picture(1)).status_code == 200


def test_a_kept_picture_is_the_one_that_was_sent(served: Running) -> None:
    content = picture(33, kind="JPEG")
    with served.client() as client:
        name = "<script>alert(1)</script>/../../etc/passwd"
        one = client.post(PREDICT, content=content, params={"path": name}).json()["inspections"][0]
        assert one["kept"]
        assert one["path"] == name
        kept = client.get(f"/v1/inspections/{one['id']}/picture")
        assert kept.content == content
        assert kept.headers["content-type"] == "application/octet-stream"
        assert "attachment" in kept.headers["content-disposition"]
        assert client.get(f"/v1/inspections/{'0' * 32}/picture").status_code == 404
    store = served.service.settings.store
    assert store is not None
    names = [str(path) for path in store.rglob("*") if path.is_file()]
    assert names
    assert not any("script" in name or "passwd" in name for name in names)


def test_models_are_listed_and_described(served: Running) -> None:
    with served.client() as client:
        (one,) = client.get("/v1/models").json()["models"]
        assert client.get("/v1/models/lamp").json() == one
        assert client.get("/v1/models/no").status_code == 404
    assert one == {
        "name": "lamp",
        "category": "lamp",
        "version": "v-test",
        "backend": "onnx",
        "precision": "fp32",
        "image_size": [16, 24],
        "threshold": 0.5,
        "has_maps": True,
    }


def test_requests_without_an_answer_leave_no_place_taken(served: Running) -> None:
    def leave(_: int) -> None:
        with pytest.raises(httpx.TimeoutException), served.client() as client:
            client.post(PREDICT, content=picture(1, size=(3000, 3000)), timeout=0.02)

    with ThreadPoolExecutor(8) as callers:
        list(callers.map(leave, range(16)))
    with served.client() as client:
        assert client.post(PREDICT, content=picture(1)).status_code == 200
    batcher = served.service.models["lamp"].batcher
    wait_for(lambda: batcher.depth == 0 and batcher._coming == 0)
