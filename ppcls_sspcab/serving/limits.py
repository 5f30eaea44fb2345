"""What one request, and one address, may take of the service; the headers that every answer has."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import re
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import anyio
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_ADDRESSES = 4096
LINGER_SECONDS = 2.0

_LEAST_BURST = 10
_LONGEST_ADDRESS = 64
_MOST_DIGITS = 18
_STEP_SECONDS = 0.05
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'"),
)
# After these it is not certain where in the connection the next request begins.
_CLOSING = (400, 408, 413)


@dataclass(frozen=True)
class Limits:
    """What one request, and one address, may take.

    Attributes:
        body_bytes: most bytes of a request's body.
        body_seconds: longest time spent waiting for a request's body.
        answer_seconds: longest time for the whole answer, the waiting for the body not counted.
        rate: requests a second of one address, on average; 0 for any number.
        burst: requests that an address may send at once after a pause; 0 for those of one second,
            but at least ten.

    Raises:
        ValueError: a number that is negative or not finite, or no time at all.
    """

    body_bytes: int
    body_seconds: float
    answer_seconds: float
    rate: float = 0.0
    burst: int = 0

    def __post_init__(self) -> None:
        for name in ("body_seconds", "answer_seconds"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        for name in ("body_bytes", "rate", "burst"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")


class Rate:
    """A bucket of tokens for each address: a request takes one, and ``rate`` come back a second.

    Only the addresses seen last are remembered. A network of IPv6 (/64), which is what one customer
    gets, counts as one address.

    Args:
        limits: ``rate`` must be above 0.
        most: addresses remembered; one that is forgotten starts with a full bucket.
    """

    def __init__(self, limits: Limits, most: int = MOST_ADDRESSES) -> None:
        self._seconds = 1 / limits.rate
        burst = limits.burst or max(_LEAST_BURST, math.ceil(limits.rate))
        self._ahead = (burst - 1) * self._seconds
        self._most = most
        # When each address's bucket is full again, in seconds of the caller's clock.
        self._full_at: OrderedDict[str | int, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, address: str, now: float) -> float:
        """Takes a token.

        Args:
            address: the client's; any text.
            now: seconds of a clock that never goes back.

        Returns:
            0.0 if there was one, else the seconds until there is.
        """
        key = _network(address)
        full_at = max(self._full_at.pop(key, now), now)
        wait = full_at - now - self._ahead
        refused = wait > 1e-6
        self._full_at[key] = full_at if refused else full_at + self._seconds
        if len(self._full_at) > self._most:
            self._full_at.popitem(last=False)
        return wait if refused else 0.0


def _network(address: str) -> str | int:
    """What counts as one address: itself, or of IPv6 its first 64 bits."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:_LONGEST_ADDRESS]
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(found.ipv4_mapped) if found.ipv4_mapped else int(found) >> 64


class LimitRequests:
    """ASGI middleware that holds every request to limits and gives every answer its headers.

    Answers 400 for a wrong Content-Length, 408 for a body that comes too slowly, 413 for one that
    is too large, 429 for too many requests of one address and 503 for an answer that takes too
    long; each with ``{"error": ...}``. An answer that has begun is cut off instead, and the
    connection closed. The application behind is cancelled; threads that it runs in are waited for.

    Where an answer leaves a part of the body unread, the connection is closed after it; what comes
    in the meantime is thrown away for up to two seconds, so that a client that is still sending
    gets to read the answer.

    The request's number is ``scope["state"]["request_id"]`` and the answer's ``X-Request-ID``: the
    caller's, or a new one. Only requests by HTTP are held to limits, websockets are not.

    Args:
        app: what answers.
        limits: see :class:`Limits`.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits
        self._rate = Rate(limits) if limits.rate else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})["request_id"] = _request_id(Headers(scope=scope))
        exchange = _Exchange(scope, receive, send, self._limits)
        refusal = self._too_often(scope) or exchange.wrong_length()
        if refusal is not None:
            await exchange.refuse(refusal)
            return
        await exchange.run(self._app)

    def _too_often(self, scope: Scope) -> Refusal | None:
        if self._rate is None:
            return None
        client = scope.get("client")
        address = str(client[0]) if client else ""  # none: over a Unix socket
        wait = self._rate.take(address, asyncio.get_running_loop().time())
        if not wait:
            return None
        seconds = str(math.ceil(wait))
        text = f"too many requests of one address: ask again in {seconds} s"
        return Refusal(429, text, {"Retry-After": seconds})


class Refusal(NamedTuple):
    """An answer in place of the application's."""

    status: int
    text: str
    headers: Mapping[str, str] | None = None


def _request_id(headers: Headers) -> str:
    given = headers.getlist("x-request-id")
    return given[0] if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]) else uuid.uuid4().hex


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: Limits) -> None:
        self._scope, self._receive, self._send, self._limits = scope, receive, send, limits
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        # Set by what goes beyond a limit; from then on the application is not listened to.
        self._refusal: asyncio.Future[Refusal] = self._loop.create_future()
        # Unlike a task's own cancel it waits for threads: no refused request leaves one behind.
        self._cancellation = anyio.CancelScope()
        headers = Headers(scope=scope)
        self._lengths = headers.getlist("content-length")
        self._chunked = "transfer-encoding" in headers
        self._announced: int | None = None  # bytes, by Content-Length
        self._received = 0  # bytes
        self._ended = False  # nothing more of the body comes
        self._gone = False  # the client
        self._lost: OSError | None = None  # why an answer could not be sent
        self._started = False  # the answer
        self._waited = 0.0  # seconds, for the client
        self._waits_since: float | None = None

    def wrong_length(self) -> Refusal | None:
        """What the headers alone say against the body."""
        if not self._lengths:
            return None
        length = self._lengths[0]
        if len(self._lengths) > 1 or self._chunked or not re.fullmatch("[0-9]+", length):
            return Refusal(400, "Content-Length must be one number of bytes, alone")
        digits = length.lstrip("0")
        if len(digits) > _MOST_DIGITS or int(digits or "0") > self._limits.body_bytes:
            return self._too_large()
        self._announced = int(digits or "0")
        return None

    def _too_large(self) -> Refusal:
        return Refusal(413, f"the body is larger than {self._limits.body_bytes} bytes: send less")

    async def run(self, app: ASGIApp) -> None:
        """Lets the application answer within the limits."""
        task = asyncio.ensure_future(self._application(app))
        try:
            refusal = await self._watch(task)
            if refusal is not None:
                self._cancellation.cancel()
                await asyncio.wait({task}, timeout=_STEP_SECONDS)
                await self.refuse(refusal)
            await asyncio.wait({task})
        finally:
            if not task.done():  # this request itself is cancelled: the service stops
                task.cancel()
                await asyncio.wait({task})
        task.result()

    async def _application(self, app: ASGIApp) -> None:
        """The application's own answer, or 500 in the place of one.

        Raises:
            Exception: what the application raised, unless it did for a client that is gone.
        """
        try:
            with self._cancellation:
                await app(self._scope, self.receive, self.send)
        except Exception as error:
            gone = self._gone or self._refusal.done()
            if error is self._lost or (gone and isinstance(error, ClientDisconnect)):
                return
            if not self._refusal.done():
                await self.refuse(Refusal(500, "an error of the service, whose log has it"))
            raise

    async def _watch(self, task: asyncio.Future[None]) -> Refusal | None:
        """Returns when the application has answered (None), or as soon as a limit is passed."""
        seconds = self._limits.answer_seconds
        either: set[asyncio.Future[Any]] = {task, self._refusal}
        while not self._refusal.done():
            left = seconds - self._answering()
            if left <= 0:
                text = f"there was no answer within {seconds:g} s: ask again later"
                self._stop(Refusal(503, text))
                break
            # Waiting for the body does not count, so the time may not have passed after all.
            timeout = max(left, _STEP_SECONDS)
            await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if task.done() and not self._refusal.done():
                return None
        return self._refusal.result()

    def _answering(self) -> float:
        """Seconds since the request came, without those of waiting for the client."""
        now = self._loop.time()
        since = now if self._waits_since is None else self._waits_since
        return now - self._begun - self._waited - (now - since)

    def _stop(self, refusal: Refusal) -> None:
        if not self._refusal.done():
            self._refusal.set_result(refusal)

    async def receive(self) -> Message:
        """The application's ``receive``: counts and times the body."""
        if self._refusal.done():
            return {"type": "http.disconnect"}
        if self._ended:
            message = await self._receive()
            self._gone |= message["type"] == "http.disconnect"
            return message
        seconds = self._limits.body_seconds
        late = Refusal(408, f"the body took longer than {seconds:g} s: send less at once")
        timer = self._loop.call_later(max(0.0, seconds - self._waited), self._stop, late)
        try:
            message = await self._part()
        finally:
            timer.cancel()
        if self._received > self._limits.body_bytes:
            self._stop(self._too_large())
        elif self._announced is not None and not self._gone:
            short = self._ended and self._received < self._announced
            if short or self._received > self._announced:
                self._stop(Refusal(400, "the body has not as many bytes as Content-Length says"))
        if self._refusal.done():
            await self._loop.create_future()  # until cancelled
        return message

    async def _part(self) -> Message:
        """The body's next part, or that the client is gone."""
        with self._waiting():
            message = await self._receive()
        self._gone = message["type"] == "http.disconnect"
        self._ended = self._gone or not message.get("more_body", False)
        self._received += len(message.get("body", b""))
        return message

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """For the client: not counted as the answer's time."""
        if self._waits_since is not None:
            yield
            return
        self._waits_since = self._loop.time()
        try:
            yield
        finally:
            self._waited += self._loop.time() - self._waits_since
            self._waits_since = None

    async def send(self, message: Message) -> None:
        """The application's ``send``: not listened to once its request is refused."""
        if not self._refusal.done():
            await self._answer(message)

    async def refuse(self, refusal: Refusal) -> None:
        """Answers in the application's place, unless the answer has begun."""
        if self._started:
            return
        headers = dict(refusal.headers or {})
        if refusal.status in _CLOSING and self._is_http1():
            headers["Connection"] = "close"
        response = JSONResponse({"error": refusal.text}, refusal.status, headers)
        with suppress(OSError):  # the client is gone
            await response(self._scope, self._receive, self._answer)

    async def _answer(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            message = self._with_headers(message)
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        try:
            if last and self._is_unread():
                await self._send({**message, "more_body": True})
                await self._linger()
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await self._send(message)
        except OSError as error:
            self._gone, self._lost = True, error
            raise

    def _with_headers(self, start: Message) -> Message:
        number = self._scope["state"]["request_id"].encode("ascii")
        headers = [pair for pair in start.get("headers", ()) if pair[0].lower() != b"x-request-id"]
        names = {name.lower() for name, _ in headers}
        headers += [pair for pair in _HEADERS if pair[0] not in names]
        headers.append((b"x-request-id", number))
        if self._is_unread() and self._is_http1() and b"connection" not in names:
            headers.append((b"connection", b"close"))
        return {**start, "headers": headers}

    def _is_http1(self) -> bool:
        return str(self._scope.get("http_version", "1.1")).startswith("1")

    def _is_unread(self) -> bool:
        """Whether there is a body of which a part may still come."""
        announced = self._chunked or any(length.strip("0") for length in self._lengths)
        return announced and not self._ended

    async def _linger(self) -> None:
        """Throws away what still comes of the body; closing at once could lose the answer."""

        async def drain() -> None:
            while not self._ended:
                await self._part()

        with suppress(asyncio.TimeoutError), self._waiting():
            await asyncio.wait_for(drain(), LINGER_SECONDS)
