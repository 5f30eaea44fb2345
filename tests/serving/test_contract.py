"""OpenAPI against the running service, and requests that nobody should send."""

from __future__ import annotations

import random
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from served import Process, Running, picture, wait_for

pytestmark = pytest.mark.slow


def test_every_route_answers_as_openapi_says(served: Running) -> None:
    api = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    operations = [found.ok() for found in api.get_all_operations()]
    assert len(operations) > 12
    for operation in operations:

        @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def check(case: schemathesis.Case) -> None:
            case.call_and_validate(
                checks=[
                    not_a_server_error,
                    status_code_conformance,
                    content_type_conformance,
                    response_schema_conformance,
                ]
            )

        check()


def whole(port: int) -> list[bytes]:
    """Requests as they should be, for each protocol."""
    file = picture(99)
    body = b'{"image": "' + b"A" * 40 + b'"}'
    tensors = (
        b'{"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 1, 1, 3], '
        b'"data": [1, 2, 3]}]}'
    )
    head = b"%s HTTP/1.1\r\nHost: 127.0.0.1:" + str(port).encode() + b"\r\n"
    found = [
        (b"POST /v1/models/lamp/predict?station=1", b"image/png", file),
        (b"POST /v2/models/lamp/infer", b"application/json", tensors),
        (b"POST /image-anomaly-detection", b"application/json", body),
        (b"GET /v1/inspections?limit=2&since=2026-01-01T00:00:00", b"text/plain", b""),
        (
            b"POST /v1/models/lamp/predict",
            b"multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="p"; filename="a"\r\n\r\n'
            + file
            + b"\r\n--x--\r\n",
        ),
    ]
    return [
        head % line
        + b"Content-Type: "
        + kind
        + b"\r\nContent-Length: "
        + str(len(content)).encode()
        + b"\r\nConnection: close\r\n\r\n"
        + content
        for line, kind, content in found
    ]


def spoilt(request: bytes, rng: random.Random) -> bytes:
    """A request with bytes changed, taken out, doubled or cut off."""
    found = bytearray(request)
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(len(found) + 1)
        kind = rng.randrange(4)
        if kind == 0 and place < len(found):
            found[place] = rng.randrange(256)
        elif kind == 1:
            del found[place : place + rng.randint(1, 20)]
        elif kind == 2:
            found[place:place] = found[place : place + rng.randint(1, 20)]
        else:
            found[place:place] = rng.choice(
                [b"\0", b"\r\n", b"%00", b"../", b'{"a":' * 200, b"9" * 30, b"\xff" * 9, b"-1"]
            )
    return bytes(found if rng.random() < 0.9 else found[: rng.randrange(1, len(found) + 1)])


def status_of(port: int, request: bytes) -> str:
    """The status of the answer; ``closed`` where the connection ends without one."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        answer = b""
        # A spoilt request may leave out that the connection ends with it.
        with suppress(ConnectionError, TimeoutError):
            connection.sendall(request)
            while part := connection.recv(65536):
                answer += part
    return answer[9:12].decode("ascii", "replace") or "closed"


def test_two_thousand_malformed_requests_give_no_500_and_no_growth(
    model: Path, tmp_path: Path
) -> None:
    rng = random.Random(0)
    words = ["--model", f"lamp={model}", "--backend", "onnx", "--threads", "1", "--seconds", "1"]
    with Process(tmp_path, words) as served, ThreadPoolExecutor(32) as callers:
        served.wait_until_ready()
        requests = whole(served.port)
        # The third one's base64 is no picture.
        statuses = [status_of(served.port, one) for one in requests]
        assert statuses == ["200", "200", "422", "200", "200"]
        process = psutil.Process(served.process.pid)
        found: Counter[str] = Counter()

        def send(count: int) -> None:
            chosen = [spoilt(rng.choice(requests), rng) for _ in range(count)]
            found.update(callers.map(lambda one: status_of(served.port, one), chosen))

        send(500)
        before, files = process.memory_info().rss, process.num_fds()
        send(1500)
        assert "500" not in found, served.log.read_text(encoding="utf-8")[-3000:]
        assert found["400"] > 100
        assert process.memory_info().rss - before < 16 << 20
        wait_for(lambda: process.num_fds() <= files + 5)
        assert status_of(served.port, requests[0]) == "200"
    assert "Traceback" not in served.log.read_text(encoding="utf-8")


def test_headers_that_never_end_do_not_hold_a_connection(model: Path, tmp_path: Path) -> None:
    words = ["--model", f"lamp={model}", "--backend", "onnx", "--threads", "1", "--seconds", "1"]
    with Process(tmp_path, words) as served:
        served.wait_until_ready()
        get = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        for before in (b"", get):
            with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
                connection.sendall(before)
                if before:
                    assert b"200 OK" in connection.recv(65536)
                end = time.monotonic() + 15
                with suppress(ConnectionError):
                    connection.sendall(b"GET /health/live HTTP/1.1\r\n")
                    connection.settimeout(0.2)
                    while time.monotonic() < end:
                        connection.sendall(b"X: y\r\n")
                        with suppress(TimeoutError):
                            if not connection.recv(65536):
                                break
                assert time.monotonic() < end


def test_headers_without_end_are_refused_before_they_fill_the_memory(
    model: Path, tmp_path: Path
) -> None:
    words = ["--model", f"lamp={model}", "--backend", "onnx", "--threads", "1"]
    with Process(tmp_path, words) as served:
        served.wait_until_ready()
        process = psutil.Process(served.process.pid)
        before = process.memory_info().rss
        head = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "
        assert (
            status_of(served.port, head + b"y" * 30_000 + b"\r\nConnection: close\r\n\r\n") == "200"
        )
        for _ in range(20):
            assert status_of(served.port, head + b"y" * (8 << 20)) in ("400", "closed")
        assert process.memory_info().rss - before < 16 << 20
