"""Tokens, and which requests are let through: in this process, and behind a server on loopback."""

from __future__ import annotations

import asyncio
import hmac
import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Scope
from test_limits import LIMITS, on_loopback

from ppcls_sspcab.errors import UserError
from ppcls_sspcab.serving.access import Access, Role, Tokens, needs_token
from ppcls_sspcab.serving.limits import LimitRequests

READ, OPERATE, OTHER = "r" * 16, "o" * 24, "unknown-token-000"
TOKENS = Tokens([("read", READ), ("operate", OPERATE)])


def written(folder: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path = folder / "tokens.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def bearer(token: str) -> bytes:
    return f"Bearer {token}".encode()


# --- tokens ------------------------------------------------------------------------------------


def test_a_file_of_tokens(tmp_path: Path) -> None:
    text = f"\ufeff# línes\r\n\r\nread {READ}\r\n  # more\n\n  operate\t{OPERATE}  \n"
    tokens = Tokens.read(written(tmp_path, text))
    assert len(tokens) == 2
    assert tokens.role_of(bearer(READ)) == "read"
    assert tokens.role_of(bearer(OPERATE)) == "operate"
    assert tokens.role_of(bearer(OTHER)) is None
    assert READ not in repr(vars(tokens))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("secret-secret-secret", "must be '<role> <token>'"),
        ("read secret-secret-secret # of the press", "must be '<role> <token>'"),
        ("secret-secret-secret read", "must begin with a role: read or operate"),
        ("Read secret-secret-secret", "must begin with a role: read or operate"),
        ("read secret", "at least 16 characters"),
        ("read sécret-secret-secret", "printable ASCII"),
        ("read secret-\x00secret-secret", "printable ASCII"),
        ("operate " + READ, "the token of line 2 again"),
        ("read " + READ, "the token of line 2 again"),
    ],
)
def test_a_wrong_line_is_named_and_no_token_told(tmp_path: Path, line: str, said: str) -> None:
    path = written(tmp_path, f"# tokens\nread {READ}\n{line}\n")
    with pytest.raises(UserError) as raised:
        Tokens.read(path)
    text = str(raised.value)
    assert text.startswith(f"{path}, line 3: ") and said in text
    assert "cret" not in text and READ not in text
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "has no token"),
        ("# read aaaaaaaaaaaaaaaa\n", "has no token"),
        (b"read secret\xff-secret-secret", "no text in UTF-8"),
    ],
)
def test_a_file_without_tokens_is_refused(tmp_path: Path, content: str | bytes, said: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(UserError, match=said) as raised:
        Tokens.read(path)
    assert str(path) in str(raised.value) and "secret" not in str(raised.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(UserError, match="the tokens cannot be read"):
            Tokens.read(path)


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o610, 0o602, 0o666, 0o777])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "my service"
    folder.mkdir()
    path = written(folder, f"read {READ}\n", mode)
    with pytest.raises(UserError, match=f"chmod 600 '{path}'"):
        Tokens.read(path)
    path.chmod(0o400)
    assert len(Tokens.read(path)) == 1


@pytest.mark.parametrize(
    ("header", "role"),
    [
        (None, None),
        (b"", None),
        (b"Bearer", None),
        (b"Bearer ", None),
        (b"bearer " + READ.encode(), "read"),
        (b"BEARER  " + READ.encode() + b" ", "read"),
        (b"Basic " + READ.encode(), None),
        (READ.encode(), None),
        (bearer(READ[:-1]), None),
        (bearer(READ + "r"), None),
        (bearer(READ.upper()), None),
        (bearer(READ + " " + OPERATE), None),
        (b"Bearer \xff\x00", None),
        (b"Bearer " + b"x" * 100_000, None),
    ],
)
def test_the_role_of_a_header(header: bytes | None, role: Role | None) -> None:
    assert TOKENS.role_of(header) == role


def test_every_token_is_compared_whichever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{number:016}" for number in range(7)]
    tokens = Tokens(("read", name) for name in names)
    lengths: list[tuple[int, int]] = []
    true_compare = hmac.compare_digest

    def compare(known: bytes, given: bytes) -> bool:
        lengths.append((len(known), len(given)))
        return true_compare(known, given)

    monkeypatch.setattr("ppcls_sspcab.serving.access.hmac.compare_digest", compare)
    for token in (*names, "", OTHER, "x" * 1000):
        lengths.clear()
        assert (tokens.role_of(bearer(token)) == "read") == (token in names)
        assert lengths == [(32, 32)] * 7


@pytest.mark.parametrize(
    ("host", "needs"),
    [
        ("127.0.0.1", False),
        ("127.255.0.9", False),
        ("::1", False),
        ("0:0:0:0:0:0:0:1", False),
        ("localhost", False),
        ("LocalHost", False),
        ("", True),
        ("0.0.0.0", True),
        ("::", True),
        ("128.0.0.1", True),
        ("10.0.0.1", True),
        ("::ffff:127.0.0.1", True),
        ("::1%lo", True),
        ("127.1", True),
        ("2130706433", True),
        ("127.0.0.1 ", True),
        ("localhost.example", True),
        ("press-7", True),
    ],
)
def test_where_a_token_is_needed(host: str, needs: bool) -> None:
    assert needs_token(host) is needs


# --- requests ----------------------------------------------------------------------------------


def role_needed(method: str, path: str) -> Role | None:
    if path == "/health":
        return None
    return "read" if method in ("GET", "HEAD") else "operate"


async def fine(request: Request) -> JSONResponse:
    return JSONResponse({"path": request.url.path})


METHODS = ["GET", "HEAD", "POST", "DELETE", "OPTIONS"]
ROUTES = [Route(f"/{name}", fine, methods=METHODS) for name in ("health", "records")]


def guarded(tokens: Tokens | None, **more: Any) -> Access:
    return Access(Starlette(routes=ROUTES), tokens, role_needed, **more)


def ask(app: ASGIApp, method: str, url: str, headers: Any = None, **more: Any) -> httpx.Response:
    async def asking() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app, **more)) as client:
            return await client.request(method, url, headers=headers)

    return asyncio.run(asking())


def with_token(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    ("method", "path", "token", "status"),
    [
        ("GET", "/health", None, 200),
        ("GET", "/health", OTHER, 200),
        ("GET", "/records", None, 401),
        ("GET", "/records", OTHER, 401),
        ("GET", "/records", READ, 200),
        ("GET", "/records", OPERATE, 200),
        ("HEAD", "/records", READ, 200),
        ("HEAD", "/records", None, 401),
        ("POST", "/records", None, 401),
        ("POST", "/records", READ, 403),
        ("POST", "/records", OPERATE, 200),
        ("OPTIONS", "/records", None, 401),
        ("BREW", "/records", READ, 403),
        ("GET", "/nothing", None, 401),
        ("GET", "/nothing", READ, 404),
        ("GET", "/health/", None, 401),
        ("GET", "//health", None, 401),
    ],
)
def test_what_a_token_may(method: str, path: str, token: str | None, status: int) -> None:
    headers = with_token(token) if token else {}
    answer = ask(guarded(TOKENS), method, "http://press-7:8000" + path, headers)
    assert answer.status_code == status
    assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
    if status in (401, 403) and method != "HEAD":
        assert list(answer.json()) == ["error"]
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_two_tokens_are_none() -> None:
    headers = [("Authorization", f"Bearer {OPERATE}"), ("Authorization", f"Bearer {OPERATE}")]
    assert ask(guarded(TOKENS), "GET", "http://press-7/records", headers).status_code == 401


def test_a_prefix_of_the_path_is_no_part_of_it() -> None:
    app = guarded(TOKENS)
    url = "http://press-7/inspection/health"
    assert ask(app, "GET", url, root_path="/inspection").status_code == 200
    assert ask(app, "GET", url, root_path="/inspect").status_code == 401
    mounted = Starlette(routes=[Mount("/inspection", app)])
    assert ask(mounted, "GET", url).status_code == 200
    assert ask(mounted, "GET", "http://press-7/inspection/records").status_code == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("127.0.0.1", 200),
        ("127.0.0.1:1", 200),
        ("127.9.9.9:65535", 200),
        ("[::1]", 200),
        ("[::1]:8000", 200),
        ("", 421),
        ("evil.example", 421),
        ("evil.example:8000", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("evil.example#localhost", 421),
        ("user@localhost", 421),
        ("localhost:", 421),
        ("localhost:80:80", 421),
        ("localhost\n", 421),
        ("localhost, evil.example", 421),
        ("192.168.0.7", 421),
        ("[::]", 421),
        ("::1", 421),
        ("[::ffff:127.0.0.1]", 421),
    ],
)
def test_without_tokens_only_this_machine_is_answered(host: str, status: int) -> None:
    scope = scope_of([(b"host", host.encode())])
    assert answered(guarded(None), scope)[0]["status"] == status
    assert answered(guarded(TOKENS), scope)[0]["status"] == 401  # as anywhere else


def test_a_request_without_host_or_with_two_is_not_answered() -> None:
    for headers in ([], [(b"host", b"localhost")] * 2):
        assert answered(guarded(None), scope_of(headers))[0]["status"] == 421


def test_names_of_this_machine_can_be_given() -> None:
    app = guarded(None, hosts=["press-7"])
    assert ask(app, "GET", "http://press-7:8000/records").status_code == 200
    assert ask(app, "GET", "http://127.0.0.1/records").status_code == 200
    assert ask(app, "GET", "http://localhost/records").status_code == 421


ORIGINS = [
    ("http://localhost:8000", "http://localhost:8000", 200),
    ("http://localhost:8000", "HTTP://LocalHost:8000", 200),
    ("http://localhost", "http://localhost", 200),
    ("http://localhost:80", "http://localhost", 200),
    ("http://[::1]:8000", "http://[::1]:8000", 200),
    ("https://localhost", "https://localhost", 200),
    ("https://localhost:8443", "https://localhost:8443", 200),
    ("http://localhost:8000", "null", 403),
    ("http://localhost:8000", "", 403),
    ("http://localhost:8000", "http://localhost", 403),
    ("http://localhost:8000", "http://localhost:3000", 403),
    ("http://localhost:8000", "http://127.0.0.1:8000", 403),
    ("http://localhost:8000", "https://localhost:8000", 403),
    ("http://localhost:8000", "http://localhost:8000.evil.example", 403),
    ("http://localhost:8000", "http://evil.example", 403),
    ("http://localhost:8000", "file://", 403),
]


@pytest.mark.parametrize(("url", "origin", "status"), ORIGINS)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_pages_of_other_sites_are_refused(method: str, url: str, origin: str, status: int) -> None:
    for tokens in (None, TOKENS):
        headers = {"Origin": origin, **with_token(OPERATE)}
        answer = ask(guarded(tokens), method, f"{url}/records", headers)
        assert answer.status_code == status
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_two_origins_are_refused() -> None:
    headers = [(b"host", b"localhost"), *[(b"origin", b"http://localhost")] * 2]
    assert answered(guarded(None), scope_of(headers))[0]["status"] == 403
    assert answered(guarded(TOKENS), scope_of(headers[1:2]))[0]["status"] == 403  # no Host


def test_a_websocket_is_closed() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    def asked(headers: list[tuple[bytes, bytes]], tokens: Tokens | None) -> list[Message]:
        scope = {"type": "websocket", "path": "/records", "scheme": "ws", "headers": headers}
        return answered(Access(app, tokens, role_needed), scope)

    host = (b"host", b"localhost:8000")
    closed = [{"type": "websocket.close", "code": 1008}]
    assert asked([host], TOKENS) == closed
    assert asked([host, (b"origin", b"null")], None) == closed
    assert asked([(b"host", b"evil.example")], None) == closed
    assert seen == []
    assert asked([host, (b"origin", b"http://localhost:8000")], None) == []
    assert asked([host, (b"authorization", bearer(READ))], TOKENS) == []
    assert answered(Access(app, TOKENS, role_needed), {"type": "lifespan"}) == []
    assert seen == ["websocket", "websocket", "lifespan"]


def scope_of(headers: list[tuple[bytes, bytes]], **more: Any) -> Scope:
    return {
        "type": "http",
        "method": "GET",
        "path": "/records",
        "scheme": "http",
        "http_version": "1.1",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        **more,
    }


def answered(app: ASGIApp, scope: Scope) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    async def talk() -> None:
        await app(scope, receive, send)

    asyncio.run(talk())
    return sent


GUARDED_NAMES = st.sampled_from([b"host", b"origin", b"authorization"])
VALUES = st.binary(max_size=40) | st.sampled_from(
    [b"localhost", b"127.0.0.1:80", b"[::1]", b"null", b"http://localhost", b"Bearer ", b"["]
)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(GUARDED_NAMES | st.binary(max_size=20), VALUES), max_size=6),
    st.text(max_size=20),
    st.text(max_size=6),
)
def test_no_header_is_a_bug(headers: list[tuple[bytes, bytes]], path: str, method: str) -> None:
    scope = scope_of(headers, path="/" + path, method=method)
    start = answered(guarded(TOKENS), dict(scope))[0]
    assert start["status"] in ((200, 403, 404, 405) if path == "health" else (401, 403))
    assert answered(guarded(None), dict(scope))[0]["status"] in (200, 403, 404, 405, 421)


# --- behind a server ---------------------------------------------------------------------------


def test_behind_a_server() -> None:
    with (
        on_loopback(LimitRequests(guarded(TOKENS), LIMITS)) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        assert client.get("/health").status_code == 200
        answer = client.post("/records", content=b"x" * 900)
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert client.post("/records", headers=with_token(READ)).status_code == 403
        assert client.post("/records", headers=with_token(OPERATE)).status_code == 200
        crossed = {"Origin": "null", **with_token(OPERATE)}
        assert client.post("/records", headers=crossed).status_code == 403
    with on_loopback(guarded(None)) as port:
        url = f"http://127.0.0.1:{port}/records"
        own = {"Origin": f"http://127.0.0.1:{port}"}
        assert httpx.post(url, headers=own).status_code == 200
        assert httpx.get(url, headers={"Host": "evil.example"}).status_code == 421
        preflight = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
        assert httpx.options(url, headers=preflight).status_code == 403
