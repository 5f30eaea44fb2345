"""HTTP/1.1 for uvicorn, with bounds of time and size for a request's head."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 1 << 16  # of the request line and all headers


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose next request's head does not come in time, or is too large.

    uvicorn bounds the time between requests only: a caller that sends its headers a byte an hour
    would hold its connection for ever, and one of 50 MiB is taken into memory. The body's time and
    size are :class:`ppcls_sspcab.serving.limits.LimitRequests`'s.

    Attributes:
        head_seconds: from the connection, or from a request's first byte, to the end of its
            headers; set by :func:`bounded`.
    """

    head_seconds = 30.0

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        if self._head_timer is None and (self.cycle is None or self.cycle.response_complete):
            self._expect_head()
        super().data_received(data)
        if self._head_timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response(f"the headers are larger than {HEAD_BYTES} bytes")

    def on_headers_complete(self) -> None:
        self._have_head()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._have_head()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(self.head_seconds, self._close)

    def _have_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _close(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()


def bounded(seconds: float) -> type[BoundedProtocol]:
    """The protocol with its time."""
    return type("BoundedProtocol", (BoundedProtocol,), {"head_seconds": seconds})
