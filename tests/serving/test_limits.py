"""Limits of requests: against an application in this process, and behind a server on loopback."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ppcls_sspcab.serving import limits as room
from ppcls_sspcab.serving.limits import LimitRequests, Limits, Rate

HOST = "http://localhost"
LIMITS = Limits(body_bytes=1000, body_seconds=0.4, answer_seconds=0.6)
HEADERS = ("x-content-type-options", "cache-control", "content-security-policy", "x-request-id")


async def echo(request: Request) -> Response:
    body = await request.body()
    return JSONResponse({"bytes": len(body), "id": request.state.request_id})


async def unread(request: Request) -> Response:
    return JSONResponse({"body": "not read"})


async def slow(request: Request) -> Response:
    await request.body()
    await asyncio.sleep(30)
    return Response("late")


def in_thread(request: Request) -> Response:
    time.sleep(1.0)
    return Response("late")


async def own_headers(request: Request) -> Response:
    return Response(
        headers={
            "Content-Security-Policy": "default-src 'self'",
            "Cache-Control": "max-age=60",
            "X-Request-ID": "another",
        }
    )


async def endless(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        while True:
            yield b"part"
            await asyncio.sleep(0.05)

    return StreamingResponse(parts())


async def bug(request: Request) -> Response:
    raise RuntimeError("a bug")


PATHS = (echo, unread, slow, in_thread, own_headers, endless, bug)
METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "BREW"]


def application(limits: Limits = LIMITS) -> LimitRequests:
    routes = [Route(f"/{end.__name__}", end, methods=METHODS) for end in PATHS]
    return LimitRequests(Starlette(routes=routes), limits)


def ask(app: ASGIApp, method: str, path: str, **more: Any) -> httpx.Response:
    async def asking() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=HOST) as client:
            return await client.request(method, path, **more)

    return asyncio.run(asking())


async def in_parts(*parts: bytes, seconds: float = 0.0) -> AsyncIterator[bytes]:
    for part in parts:
        await asyncio.sleep(seconds)
        yield part


def scope_of(**more: Any) -> Scope:
    return {
        "type": "http",
        "method": "POST",
        "path": "/echo",
        "http_version": "1.1",
        "query_string": b"",
        "headers": [],
        "client": ("192.0.2.1", 1),
        **more,
    }


def answered(app: ASGIApp, scope: Scope, *messages: Message) -> list[Message]:
    """What is sent to a client whose messages are these, and who then waits."""
    sent: list[Message] = []
    left = list(messages)

    async def receive() -> Message:
        if left:
            return left.pop(0)
        await asyncio.sleep(60)
        raise AssertionError("nobody ended the wait")

    async def send(message: Message) -> None:
        sent.append(message)

    async def talk() -> None:
        await asyncio.wait_for(app(scope, receive, send), 20)

    asyncio.run(talk())
    return sent


@pytest.fixture(autouse=True)
def _short_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LINGER_SECONDS", 0.1)


# --- one request -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_every_answer_has_the_headers(method: str) -> None:
    for path, status in (("/unread", 200), ("/nothing", 404), ("/bug", 500)):
        answer = ask(application(), method, path)
        assert answer.status_code == status
        assert all(name in answer.headers for name in HEADERS)
        assert answer.headers["content-security-policy"] == "default-src 'none'"
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers


def test_headers_that_the_application_sets_stay_but_for_the_number() -> None:
    answer = ask(application(), "GET", "/own_headers", headers={"X-Request-ID": "mine"})
    assert answer.headers["content-security-policy"] == "default-src 'self'"
    assert answer.headers["cache-control"] == "max-age=60"
    assert answer.headers.get_list("x-request-id") == ["mine"]


@pytest.mark.parametrize("given", ["a", "A.b_c-9", "x" * 64])
def test_the_callers_number_is_kept(given: str) -> None:
    answer = ask(application(), "POST", "/echo", headers={"X-Request-ID": given})
    assert answer.headers["x-request-id"] == given == answer.json()["id"]


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\n", "ä", "a;b", "<script>"])
def test_another_number_is_replaced(given: str) -> None:
    scope = scope_of(headers=[(b"x-request-id", given.encode("latin-1"))])
    start, body = answered(application(), scope, {"type": "http.request", "body": b""})
    number = dict(start["headers"])[b"x-request-id"].decode()
    assert len(number) == 32 and int(number, 16) >= 0
    assert json.loads(body["body"])["id"] == number


def test_two_numbers_are_replaced() -> None:
    scope = scope_of(headers=[(b"x-request-id", b"a"), (b"x-request-id", b"b")])
    start, _ = answered(application(), scope, {"type": "http.request", "body": b""})
    assert len(dict(start["headers"])[b"x-request-id"]) == 32


def test_a_body_up_to_the_limit_passes() -> None:
    assert ask(application(), "POST", "/echo", content=b"x" * 1000).json()["bytes"] == 1000
    parts = in_parts(*[b"x" * 100] * 10)
    assert ask(application(), "POST", "/echo", content=parts).json()["bytes"] == 1000


def test_a_body_above_the_limit_is_not_read() -> None:
    received = False

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal received
        received = True

    answer = ask(LimitRequests(app, LIMITS), "POST", "/echo", content=b"x" * 1001)
    assert answer.status_code == 413 and not received
    assert answer.json() == {"error": "the body is larger than 1000 bytes: send less"}
    assert answer.headers["connection"] == "close"
    assert all(name in answer.headers for name in HEADERS)


def test_a_body_in_parts_above_the_limit_is_refused() -> None:
    answer = ask(application(), "POST", "/echo", content=in_parts(*[b"x" * 100] * 11))
    assert answer.status_code == 413 and answer.headers["connection"] == "close"


def test_a_limit_of_nothing_lets_no_body_through() -> None:
    app = application(Limits(body_bytes=0, body_seconds=1, answer_seconds=1))
    assert ask(app, "POST", "/echo", content=b"x").status_code == 413
    assert ask(app, "POST", "/echo", content=b"").status_code == 200


@pytest.mark.parametrize(
    ("lengths", "status"),
    [
        (["-1"], 400),
        (["+1"], 400),
        (["1_0"], 400),
        (["ten"], 400),
        ([""], 400),
        (["5, 5"], 400),
        (["5", "5"], 400),
        (["5", "6"], 400),
        (["\xb2"], 400),
        (["9" * 5000], 413),
        (["1001"], 413),
        (["0" * 5000 + "5"], 200),
        (["5"], 200),
        (["4"], 400),
        (["6"], 400),
    ],
)
def test_content_length(lengths: list[str], status: int) -> None:
    scope = scope_of(headers=[(b"content-length", text.encode("latin-1")) for text in lengths])
    message = {"type": "http.request", "body": b"hello", "more_body": False}
    start, *bodies = answered(application(), scope, message)
    assert start["status"] == status
    if status != 200:
        assert set(json.loads(b"".join(part["body"] for part in bodies))) == {"error"}
        assert dict(start["headers"])[b"connection"] == b"close"


def test_content_length_of_a_body_in_parts_is_refused() -> None:
    headers = [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")]
    message = {"type": "http.request", "body": b"hello"}
    start, *_ = answered(application(), scope_of(headers=headers), message)
    assert start["status"] == 400


def test_the_application_gets_nothing_beyond_the_limit_and_hears_that_a_client_left() -> None:
    seen: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            seen.append(await receive())
            if seen[-1]["type"] == "http.disconnect":
                return

    part = {"type": "http.request", "body": b"x" * 600, "more_body": True}
    start, *_ = answered(LimitRequests(app, LIMITS), scope_of(), part, part)
    assert start["status"] == 413 and seen == [part]
    seen.clear()
    gone = {"type": "http.disconnect"}
    scope = scope_of(headers=[(b"content-length", b"900")])
    assert answered(LimitRequests(app, LIMITS), scope, part, gone) == []
    assert seen == [part, gone]


def test_an_answer_that_has_begun_is_not_answered_again() -> None:
    scope = scope_of(path="/endless", method="GET")
    sent = answered(application(), scope, {"type": "http.request"})
    starts = [message for message in sent if message["type"] == "http.response.start"]
    assert starts == sent[:1] and all(message["more_body"] for message in sent[1:])


def test_a_slow_body_is_given_up() -> None:
    begun = time.monotonic()
    parts = in_parts(*[b"x"] * 100, seconds=0.1)
    answer = ask(application(), "POST", "/echo", content=parts)
    assert answer.status_code == 408 and answer.headers["connection"] == "close"
    assert answer.json()["error"].startswith("the body took longer than 0.4 s")
    assert 0.4 <= time.monotonic() - begun < 3


def test_the_time_of_the_body_is_not_the_answers() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await asyncio.sleep(0.4)
        await JSONResponse({})(scope, receive, send)

    app_behind = LimitRequests(app, LIMITS)
    parts = in_parts(b"x", b"x", b"x", seconds=0.1)
    assert ask(app_behind, "POST", "/", content=parts).status_code == 200


def test_an_application_that_reads_late_is_not_the_clients_slowness() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.5)
        while (await receive()).get("more_body"):
            pass
        await JSONResponse({})(scope, receive, send)

    assert ask(LimitRequests(app, LIMITS), "POST", "/", content=b"x" * 9).status_code == 200


@pytest.mark.parametrize("path", ["/slow", "/in_thread"])
def test_an_answer_that_takes_too_long_becomes_503(path: str) -> None:
    answer = ask(application(), "POST", path, content=b"x")
    assert answer.status_code == 503
    assert answer.json()["error"].startswith("there was no answer within 0.6 s")
    assert all(name in answer.headers for name in HEADERS)


def test_503_is_sent_before_a_thread_has_ended() -> None:
    times: list[float] = []
    begun = time.monotonic()

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        times.append(time.monotonic() - begun)

    async def talk() -> None:
        await application()(scope_of(path="/in_thread", method="GET"), receive, send)

    asyncio.run(talk())
    assert len(times) == 2 and times[-1] < 0.95 < time.monotonic() - begun


def test_an_error_of_the_application_is_answered_and_stays_an_error() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("a bug")

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    with pytest.raises(RuntimeError, match="a bug"):
        asyncio.run(_call(LimitRequests(app, LIMITS), scope_of(), receive, send))
    assert sent[0]["status"] == 500 and b"a bug" not in sent[1]["body"]


async def _call(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)


def test_a_client_that_leaves_is_no_error() -> None:
    part = {"type": "http.request", "body": b"x", "more_body": True}
    headers = [(b"content-length", b"5")]
    gone = {"type": "http.disconnect"}
    for messages in ([gone], [part, gone]):
        answered(application(), scope_of(headers=headers), *messages)


def test_a_client_that_leaves_before_the_answer_is_no_error() -> None:
    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        raise OSError("the client is gone")

    for path in ("/echo", "/slow", "/endless"):
        scope = scope_of(path=path, asgi={"spec_version": "2.4"})
        asyncio.run(_call(application(), scope, receive, send))


def test_an_error_of_reading_files_is_not_taken_for_a_client_that_left() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        answered(LimitRequests(app, LIMITS), scope_of(), {"type": "http.disconnect"})


def test_a_request_that_is_cancelled_cancels_the_application() -> None:
    ended = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.sleep(30)
        finally:
            ended.append(True)

    async def talk() -> None:
        async def receive() -> Message:
            return {"type": "http.request"}

        async def send(message: Message) -> None:
            raise AssertionError("nothing is sent")

        with pytest.raises(asyncio.TimeoutError):
            call = _call(LimitRequests(app, LIMITS), scope_of(), receive, send)
            await asyncio.wait_for(call, 0.1)
        assert ended == [True]

    asyncio.run(talk())


def test_other_scopes_pass() -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    for kind in ("lifespan", "websocket"):
        answered(LimitRequests(app, LIMITS), {"type": kind})
    assert seen == ["lifespan", "websocket"]


def test_nothing_is_left_behind() -> None:
    app = application()

    async def talk() -> int:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=HOST) as client:
            for number in range(60):
                size = 2000 if number % 2 else 10
                await client.post("/echo", content=in_parts(b"x" * size, b"x"))
        gc.collect()
        exchanges = [found for found in gc.get_objects() if type(found).__name__ == "_Exchange"]
        return len(exchanges) + len(asyncio.all_tasks()) - 1

    assert asyncio.run(talk()) == 0


NAMES = st.sampled_from(
    [b"content-length", b"transfer-encoding", b"x-request-id", b"connection", b"expect", b"cookie"]
) | st.binary(max_size=20)

VALUES = st.binary(max_size=30) | st.integers(-5, 2000).map(lambda number: b"%d" % number)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(NAMES, VALUES), max_size=6),
    st.lists(st.binary(max_size=400), max_size=4),
    st.sampled_from(["POST", "GET", "HEAD", "", "G\xe4T"]),
)
def test_no_header_is_a_bug(
    headers: list[tuple[bytes, bytes]], parts: list[bytes], method: str
) -> None:
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    start, *bodies = answered(
        application(), scope_of(headers=headers, method=method), *messages, {"type": "http.request"}
    )
    assert start["status"] in (200, 400, 405, 413)
    assert not bodies[-1].get("more_body")


# --- the rate ----------------------------------------------------------------------------------


def rate(per_second: float, burst: int, most: int = room.MOST_ADDRESSES) -> Rate:
    return Rate(Limits(1, 1, 1, rate=per_second, burst=burst), most)


def test_a_burst_passes_and_then_the_rate() -> None:
    bucket = rate(2, burst=3)
    assert [bucket.take("a", 100.0) for _ in range(3)] == [0, 0, 0]
    assert bucket.take("a", 100.0) == pytest.approx(0.5)
    assert bucket.take("b", 100.0) == 0
    assert bucket.take("a", 100.25) == pytest.approx(0.25)
    assert bucket.take("a", 100.5) == 0
    assert bucket.take("a", 100.5) > 0
    assert [bucket.take("a", 1000.0) == 0 for _ in range(4)] == [True, True, True, False]


@settings(deadline=None)
@given(
    st.floats(0.1, 1000),
    st.integers(1, 50),
    st.lists(st.floats(0, 5), min_size=1, max_size=200),
)
def test_no_more_pass_than_the_rate_says(
    per_second: float, burst: int, pauses: list[float]
) -> None:
    bucket, now, passed = rate(per_second, burst), 0.0, 0
    for pause in pauses:
        now += pause
        passed += bucket.take("a", now) == 0
    assert passed <= burst + per_second * (now - pauses[0]) + 1e-3
    assert passed >= 1


def test_addresses_are_forgotten_the_oldest_first() -> None:
    bucket = rate(0.001, burst=1, most=3)
    assert bucket.take("a", 0) == bucket.take("b", 1) == bucket.take("c", 2) == 0
    assert bucket.take("a", 3) > 0  # seen again
    assert bucket.take("d", 4) == 0  # in the place of b
    assert bucket.take("a", 5) > 0
    assert bucket.take("b", 6) == 0
    assert len(bucket) == 3


def test_many_addresses_take_bounded_memory() -> None:
    bucket = rate(1, burst=5)
    for number in range(100_000):
        bucket.take(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", number / 1000)
        assert len(bucket) <= room.MOST_ADDRESSES
    assert len(bucket) == room.MOST_ADDRESSES
    bucket.take("x" * 1_000_000, 200.0)
    assert max(len(key) for key in bucket._full_at if isinstance(key, str)) <= 64


def test_a_network_of_ipv6_is_one_address() -> None:
    bucket = rate(1, burst=1)
    assert bucket.take("2001:db8::1", 0) == 0
    assert bucket.take("2001:db8::ffff:1", 0) > 0
    assert bucket.take("2001:db8:0:1::1", 0) == 0
    assert bucket.take("192.0.2.7", 0) == 0
    assert bucket.take("::ffff:192.0.2.7", 0) > 0
    assert bucket.take("::ffff:192.0.2.8", 0) == 0


def test_too_many_requests_are_told_when_to_come_again() -> None:
    app = application(Limits(1000, 1, 1, rate=0.5, burst=2))
    statuses = [ask_from(app, "192.0.2.1") for _ in range(3)]
    assert [status for status, _ in statuses] == [200, 200, 429]
    assert 1 <= int(statuses[-1][1][b"retry-after"]) <= 4
    assert ask_from(app, "192.0.2.2")[0] == 200
    assert [ask_from(app, None)[0] for _ in range(3)] == [200, 200, 429]


def ask_from(app: ASGIApp, address: str | None) -> tuple[int, dict[bytes, bytes]]:
    scope = scope_of(client=(address, 1) if address else None)
    start, *_ = answered(app, scope, {"type": "http.request"})
    return start["status"], dict(start["headers"])


def test_no_rate_is_any_number() -> None:
    app = application()
    assert {ask_from(app, "192.0.2.1")[0] for _ in range(50)} == {200}


@pytest.mark.parametrize(
    "wrong",
    [
        {"body_bytes": -1},
        {"body_seconds": 0},
        {"body_seconds": float("inf")},
        {"answer_seconds": -1.0},
        {"answer_seconds": float("nan")},
        {"rate": -0.1},
        {"burst": -1},
    ],
)
def test_limits_that_are_none_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Limits(**{"body_bytes": 1, "body_seconds": 1.0, "answer_seconds": 1.0, **wrong})


# --- behind a server ---------------------------------------------------------------------------


@contextmanager
def on_loopback(app: ASGIApp, http: str = "auto") -> Iterator[int]:
    """Serves an application from a thread. Yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(app, http=http, log_config=None, lifespan="off")  # type: ignore
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        end = time.monotonic() + 20
        while not server.started and time.monotonic() < end:
            time.sleep(0.01)
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture(scope="module", params=["httptools", "h11"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    pytest.importorskip(request.param)
    with on_loopback(application(), request.param) as found:
        yield found


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        yield connection


def head(path: str = "/echo", method: str = "POST", **headers: object) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def until_closed(connection: socket.socket) -> bytes:
    found = b""
    while part := connection.recv(65536):
        found += part
    return found


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def is_well(port: int) -> bool:
    return httpx.post(f"http://127.0.0.1:{port}/echo", content=b"hello").json()["bytes"] == 5


def test_a_slow_body_ends_with_408_and_the_connection(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(head(Content_Length=100) + b"x")
        answer = until_closed(connection)
    assert status_of(answer) == 408 and b"connection: close" in answer
    assert is_well(port)


def test_a_trickle_ends_with_408(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(head(Content_Length=100))
        connection.settimeout(0.05)
        answer, begun = b"", time.monotonic()
        while not answer and time.monotonic() - begun < 5:
            connection.sendall(b"x")
            try:
                answer = connection.recv(65536)
            except TimeoutError:
                continue
    assert status_of(answer) == 408


def test_a_body_in_parts_over_the_limit_ends_with_413(port: int) -> None:
    part = b"%x\r\n" % 600 + b"x" * 600 + b"\r\n"
    with connected(port) as connection:
        connection.sendall(head(Transfer_Encoding="chunked") + part * 2)
        answer = until_closed(connection)
    assert status_of(answer) == 413
    assert is_well(port)


@pytest.mark.parametrize("path", ["/echo", "/unread", "/nothing"])
def test_a_client_that_goes_on_sending_reads_its_answer(
    port: int, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "LINGER_SECONDS", 10.0)
    size = 8 << 20
    with connected(port) as connection:
        connection.sendall(head(path, Content_Length=size))
        connection.sendall(b"x" * size)
        answer = until_closed(connection)
    assert status_of(answer) == 413 and answer.endswith(b"}")
    assert is_well(port)


def test_an_answer_that_leaves_the_body_unread_ends_the_connection(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(head("/unread", Content_Length=1000) + b"x" * 10)
        answer = until_closed(connection)
    assert status_of(answer) == 200 and b"connection: close" in answer
    assert b"not read" in answer


def test_a_connection_is_kept_for_the_next_request(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        answers = [client.post("/echo", content=b"x" * 1000) for _ in range(3)]
        streams = {id(answer.extensions["network_stream"]) for answer in answers}
    assert [answer.status_code for answer in answers] == [200] * 3 and len(streams) == 1


def test_no_body_is_asked_for_that_is_too_large(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(head(Content_Length=5000, Expect="100-continue"))
        answer = until_closed(connection)
    assert status_of(answer) == 413 and b"100 Continue" not in answer


@pytest.mark.parametrize("length", ["-1", "ten", "5, 6", "5\r\nContent-Length: 6"])
def test_a_wrong_length_ends_with_400(port: int, length: str) -> None:
    with connected(port) as connection:
        connection.sendall(head(Content_Length=length) + b"hello")
        assert status_of(until_closed(connection)) == 400
    assert is_well(port)


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "PATCH", "TRACE", "PROPFIND"])
def test_other_methods(port: int, method: str) -> None:
    for path in ("/echo", "/unread", "/nothing"):
        with connected(port) as connection:
            connection.sendall(head(path, method, Connection="close"))
            answer = until_closed(connection)
        assert status_of(answer) in (200, 404, 405)
        assert b"x-request-id: " in answer
        if method == "HEAD":
            assert answer.endswith(b"\r\n\r\n")


def test_an_endless_answer_is_cut_off(port: int) -> None:
    begun = time.monotonic()
    with connected(port) as connection:
        connection.sendall(head("/endless", "GET"))
        answer = until_closed(connection)
    assert status_of(answer) == 200 and not answer.endswith(b"0\r\n\r\n")
    assert time.monotonic() - begun < 5


@pytest.mark.slow
def test_clients_that_leave_at_any_time_leave_nothing_in_the_log(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    beginnings = [
        b"",
        b"POST /echo HT",
        head(Content_Length=900) + b"x" * 10,
        head(Transfer_Encoding="chunked") + b"5\r\nhel",
        head(Content_Length=9000) + b"x" * 100,
        head("/unread", Content_Length=900) + b"x",
        head("/slow", "GET"),
        head("/endless", "GET"),
        head("/echo", "GET") * 5,
    ]
    with caplog.at_level(logging.ERROR):
        for seconds in (0.0, 0.02):
            for beginning in beginnings:
                with connected(port) as connection:
                    if seconds:  # leaves with a reset
                        reset = struct.pack("ii", 1, 0)
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                    connection.sendall(beginning)
                    time.sleep(seconds)
        time.sleep(1.0)  # until the last answer's time is over
    assert [record.getMessage() for record in caplog.records] == []
    assert is_well(port)
