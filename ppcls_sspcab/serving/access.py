"""Who may ask the service for what: tokens, and pages of other sites."""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
import shlex
from collections.abc import Callable, Collection, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Literal, get_args

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ppcls_sspcab.errors import UserError

Role = Literal["read", "operate"]

LEAST_CHARACTERS = 16
LOOPBACK_NAMES = ("localhost",)

_TOKEN = re.compile("[!-~]+")  # printable ASCII without the space
_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{1,5})?")
_PORTS = {"http": ":80", "https": ":443"}
_SCHEMES = {"ws": "http", "wss": "https"}
_POLICY_VIOLATION = 1008  # of a websocket

_Refusal = tuple[int, str]


class Tokens:
    """The tokens that the service knows, as digests.

    Args:
        entries: role and token of each.
    """

    def __init__(self, entries: Iterable[tuple[Role, str]]) -> None:
        self._digests = tuple((sha256(token.encode()).digest(), role) for role, token in entries)

    def __len__(self) -> int:
        return len(self._digests)

    @classmethod
    def read(cls, path: Path) -> Tokens:
        """The tokens of a file whose lines are ``<role> <token>``, empty, or begin with ``#``.

        Raises:
            UserError: the file cannot be read, others than its owner may read it, a line is not as
                above, a token is short or there twice, or there is none. No token is told.
        """
        entries: list[tuple[Role, str]] = []
        lines: dict[str, int] = {}
        for number, line in enumerate(_private_text(path).split("\n"), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            try:
                role, token = _entry(line)
                if token in lines:
                    raise ValueError(f"has the token of line {lines[token]} again: remove one")
            except ValueError as error:
                raise UserError(f"{path}, line {number}: {error}") from None
            lines[token] = number
            entries.append((role, token))
        if not entries:
            raise UserError(f"{path}: has no token: write a line 'operate TOKEN'")
        return cls(entries)

    def role_of(self, header_value: bytes | None) -> Role | None:
        """The role that a header gives, in a time that does not tell which token it is near.

        Args:
            header_value: of ``Authorization``: ``Bearer TOKEN``; None where there is none.

        Returns:
            None where the header gives none.
        """
        scheme, _, token = (header_value or b"").partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        digest = sha256(token.strip(b" ")).digest()
        found: Role | None = None
        for known, role in self._digests:  # all of them, whichever it is
            if hmac.compare_digest(known, digest):
                found = role
        return found


def _private_text(path: Path) -> str:
    """A file's text, if nobody but its owner may read it. Raises UserError."""
    try:
        with path.open("rb") as stream:
            if os.name == "posix" and os.fstat(stream.fileno()).st_mode & 0o077:
                command = f"chmod 600 {shlex.quote(str(path))}"
                raise UserError(f"{path}: others may read or write the tokens: run '{command}'")
            return stream.read().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: the tokens cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is no text in UTF-8: write lines '<role> <token>'") from None


def _entry(line: str) -> tuple[Role, str]:
    """Role and token of a line. Raises ValueError, whose text has nothing of the line."""
    words = line.split()
    if len(words) != 2:
        raise ValueError("must be '<role> <token>', and a comment stand on a line of its own")
    known: tuple[Role, ...] = get_args(Role)
    role = next((name for name in known if name == words[0]), None)
    if role is None:
        raise ValueError(f"must begin with a role: {' or '.join(known)}")
    if not _TOKEN.fullmatch(words[1]):
        raise ValueError("the token may have printable ASCII characters only")
    if len(words[1]) < LEAST_CHARACTERS:
        raise ValueError(f"the token is too short: give at least {LEAST_CHARACTERS} characters")
    return role, words[1]


def needs_token(host: str) -> bool:
    """Whether others than this machine's programs can reach a service that listens at ``host``.

    Only ``localhost``, 127.0.0.0/8 and ::1 are this machine's alone. Other names are not looked up.
    """
    return host.lower() not in LOOPBACK_NAMES and not _is_loopback(host)


def _is_loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    # Not is_loopback: whether ::ffff:127.0.0.1 is one depends on Python's version.
    if isinstance(found, ipaddress.IPv4Address):
        return found in ipaddress.IPv4Network("127.0.0.0/8")
    return found == ipaddress.IPv6Address("::1")


class Access:
    """ASGI middleware that lets through what may be asked.

    Answers 401 for a token that is missing or unknown and 403 for one whose role is not enough.
    Without tokens the service is for this machine's programs: a request to another host's name,
    such as a page can send whose name leads here, is answered 421. With tokens or without, a
    request of another site's page (``Origin``) is answered 403; a proxy in front must therefore
    pass ``Host`` and ``X-Forwarded-Proto`` on. An answer is ``{"error": ...}``; a websocket is
    closed instead.

    Args:
        app: what answers.
        tokens: None: who reaches the service may ask it anything.
        role_needed: for a method and a path, without the prefix it is mounted at; None: open to
            all. A token ``operate`` may do all that ``read`` may.
        hosts: names of this machine, in lower case, without port; its loopback addresses are
            allowed besides.
    """

    def __init__(
        self,
        app: ASGIApp,
        tokens: Tokens | None,
        role_needed: Callable[[str, str], Role | None],
        hosts: Collection[str] = LOOPBACK_NAMES,
    ) -> None:
        self._app, self._tokens, self._role_needed = app, tokens, role_needed
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = None if scope["type"] == "lifespan" else self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            status, text = refusal
            headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
            await JSONResponse({"error": text}, status, headers)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})

    def _refusal(self, scope: Scope) -> _Refusal | None:
        headers = Headers(scope=scope)
        hosts = [host.lower() for host in headers.getlist("host")]
        if self._tokens is None and not (len(hosts) == 1 and self._is_own(hosts[0])):
            return 421, "without tokens the service answers to localhost, 127.0.0.1 and [::1] only"
        origins = headers.getlist("origin")
        if origins and not (
            len(origins) == len(hosts) == 1 and _is_same(origins[0].lower(), scope, hosts[0])
        ):
            return 403, "the request comes from a page of another site"
        if self._tokens is None:
            return None
        return self._refused_role(self._tokens, scope, headers.getlist("authorization"))

    def _is_own(self, host: str) -> bool:
        """Whether a Host header names this machine."""
        found = _HOST.fullmatch(host)
        if not found:
            return False
        name = found["v6"] or found["name"]
        return _is_loopback(name) or name in self._hosts

    def _refused_role(self, tokens: Tokens, scope: Scope, given: list[str]) -> _Refusal | None:
        needed = self._role_needed(scope.get("method", "GET"), _path(scope))
        if needed is None:
            return None
        role = tokens.role_of(given[0].encode("latin-1")) if len(given) == 1 else None
        if role is None:
            return 401, "a known token is needed: send the header 'Authorization: Bearer TOKEN'"
        if role not in ("operate", needed):
            return 403, f"the token's role is {role!r}, and this needs {needed!r}"
        return None


def _is_same(origin: str, scope: Scope, host: str) -> bool:
    """Whether an Origin header, in lower case, is the service itself."""
    given = str(scope.get("scheme", "http"))
    scheme = _SCHEMES.get(given, given)
    port = _PORTS.get(scheme, "")
    return origin.removesuffix(port) == f"{scheme}://{host.removesuffix(port)}"


def _path(scope: Scope) -> str:
    """The path as the routes see it: without the prefix that the application is mounted at."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    inside = path.removeprefix(root)
    return inside if inside == "" or inside.startswith("/") else path
