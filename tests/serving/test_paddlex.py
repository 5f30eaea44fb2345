"""PaddleX's route, asked as its documentation asks it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from served import PREPROCESS, Running, picture, running, settings_for

from ppcls_sspcab.image.drawing import overlay
from ppcls_sspcab.runtime.predictor import Predictor
from ppcls_sspcab.serving.batcher import QueueFull
from ppcls_sspcab.serving.inspections.record import StorageError

PATH = "/image-anomaly-detection"


def text_of(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def half_white() -> bytes:
    """A picture whose right half is white and whose left half is black."""
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:, 24:] = 255
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def two(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service of two models."""
    models = {"lamp": str(model), "screw": str(model)}
    folder = tmp_path_factory.mktemp("two")
    with running(settings_for(model, folder, models=models)) as found:
        yield found


def ask(served: Running, query: str = "", **body: Any) -> httpx.Response:
    with served.client() as client:
        return client.post(PATH + query, json=body)


def result_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    envelope = answer.json()
    assert set(envelope) == {"logId", "errorCode", "errorMsg", "result"}
    assert (envelope["errorCode"], envelope["errorMsg"]) == (0, "Success")
    assert envelope["logId"] == answer.headers["x-request-id"]
    return envelope["result"]


def reason_of(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    envelope = answer.json()
    assert set(envelope) == {"logId", "errorCode", "errorMsg"}
    assert envelope["errorCode"] == status
    assert envelope["logId"] == answer.headers["x-request-id"]
    return envelope["errorMsg"]


def test_a_picture_is_judged_as_predict_judges_it(served: Running, model: Path) -> None:
    content = half_white()
    (expected,) = Predictor(model, "onnx", threads=1).predict([content])
    found = result_of(ask(served, image=text_of(content)))
    assert found["score"] == pytest.approx(expected.score, rel=1e-5)
    assert found["normalizedScore"] == pytest.approx(expected.normalized_score, rel=1e-5)
    assert found["threshold"] == pytest.approx(expected.threshold, rel=1e-6)
    assert found["isAnomaly"] is expected.is_anomaly
    height, width = PREPROCESS.image_size
    assert found["size"] == [height, width]
    labels = np.array(found["labelMap"]).reshape(height, width)
    assert labels.tolist() == np.where(expected.map > 0.5, 255, 0).tolist()
    assert set(labels[:, : width // 2 - 1].ravel()) == {0}
    assert set(labels[:, width // 2 + 1 :].ravel()) == {255}
    with served.client() as client:
        row = client.get(f"/v1/inspections/{found['id']}").json()
    assert (row["path"], row["score"]) == ("image", pytest.approx(found["score"]))


@pytest.mark.parametrize("wish", [{}, {"visualize": None}, {"visualize": True}])
def test_the_overlay_is_a_jpeg_of_the_networks_size(
    served: Running, model: Path, wish: dict[str, Any]
) -> None:
    content = half_white()
    found = result_of(ask(served, image=text_of(content), **wish))
    with Image.open(io.BytesIO(base64.b64decode(found["image"]))) as image:
        assert (image.format, image.size) == ("JPEG", (24, 16))
        seen = np.asarray(image).astype(int)
    (expected,) = Predictor(model, "onnx", threads=1).predict([content])
    painted = overlay(PREPROCESS.load(content), expected.map)
    assert np.abs(seen - painted).mean() < 10


def test_the_overlay_is_left_out_on_request(served: Running) -> None:
    found = result_of(ask(served, image=text_of(picture(9)), visualize=False))
    assert found["image"] is None
    assert set(found["labelMap"]) == {0}


def test_base64_may_be_broken_into_lines(served: Running) -> None:
    lines = base64.encodebytes(picture(204, (300, 200))).decode()
    assert result_of(ask(served, image=lines))["score"] == pytest.approx(0.8, abs=1e-5)


def test_one_of_several_models_must_be_named(two: Running) -> None:
    image = text_of(picture(250))
    assert "lamp, screw" in reason_of(ask(two, image=image), 400)
    assert "'other'" in reason_of(ask(two, image=image, model="other"), 404)
    for answer in (ask(two, image=image, model="screw"), ask(two, "?model=screw", image=image)):
        found = result_of(answer)
        with two.client() as client:
            assert client.get(f"/v1/inspections/{found['id']}").json()["model"] == "screw"


@pytest.mark.parametrize("address", ["http://127.0.0.1/a.png", "HTTPS://example.com/a.png"])
def test_an_address_is_not_fetched(served: Running, address: str) -> None:
    assert "not fetched" in reason_of(ask(served, image=address), 400)


def test_a_picture_that_cannot_be_judged_is_an_error_and_stored(served: Running) -> None:
    with served.client() as client:
        before = client.get("/v1/inspections/counts").json()["unjudged"]
        reason = reason_of(ask(served, image=text_of(b"no picture")), 422)
        after = client.get("/v1/inspections/counts").json()["unjudged"]
    assert "is no picture of a known kind" in reason
    assert after == before + 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"image": 4}',
        b'{"image": null}',
        b'{"visualize": true}',
        b'{"image": "?"}',
        b'{"image": "QUJ"}',
        '{"image": "ä"}'.encode(),
        b'{"image": "\\ud800"}',
        b'{"image": "", "visualize": "yes"}',
        b'{"image": "", "model": 1}',
        b'{"image": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"image": ' + b"1" * 10_000 + b"}",
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)
def test_a_malformed_request_says_what_is_wrong(served: Running, body: bytes) -> None:
    with served.client() as client:
        assert 3 < len(reason_of(client.post(PATH, content=body), 400)) < 300


def test_a_model_with_half_a_letter_is_none(served: Running) -> None:
    body = json.dumps({"image": "", "model": "\ud800"})
    with served.client() as client:
        answer = client.post(PATH, content=body)
    reason_of(answer, answer.status_code)
    assert answer.status_code in (400, 404)


@pytest.mark.parametrize(
    ("raised", "text"),
    [(QueueFull(), "too many pictures wait"), (StorageError("disk full"), "disk full")],
    ids=["queue", "storage"],
)
def test_what_may_pass_is_503(
    served: Running, monkeypatch: pytest.MonkeyPatch, raised: Exception, text: str
) -> None:
    async def fail(*given: object) -> None:
        raise raised

    monkeypatch.setattr(served.service.inspector, "inspect", fail)
    answer = ask(served, image=text_of(picture(3)))
    assert text in reason_of(answer, 503)
    assert answer.headers["retry-after"] == "1"


def test_it_is_described(served: Running) -> None:
    schema = served.app.openapi()
    route = schema["paths"][PATH]["post"]
    body = route["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {"image", "visualize", "model"}
    for code in ("400", "404", "422", "503"):
        content = route["responses"][code]["content"]["application/json"]
        assert content["schema"]["$ref"].endswith("/Failed")
    assert {"200", "401", "413"} <= set(route["responses"])
