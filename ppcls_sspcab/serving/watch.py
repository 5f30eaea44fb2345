"""One line of JSON for every request, and its time for Prometheus."""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import datetime, timezone
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ppcls_sspcab.serving.metrics import Metrics

UNKNOWN = "unknown"

_LOGGER = logging.getLogger("ppcls_sspcab.serving")


class Watch:
    """ASGI middleware that times every request and logs it.

    Args:
        app: what answers.
        metrics: has the times, by the route's template.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status, told = time.perf_counter(), 0, False

        def tell() -> None:
            nonlocal told
            if not told:
                told = True
                self._tell(scope, status, time.perf_counter() - start)

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body" and not message.get("more_body", False):
                tell()  # before the caller has its answer: it may ask for the counts next
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            tell()

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", UNKNOWN)
        self._metrics.answered(route, status, seconds)
        fields = {
            "request_id": scope.get("state", {}).get("request_id", ""),
            "method": scope["method"],
            "path": scope["path"][:500],
            "status": status,
            "ms": round(1000 * seconds, 1),
        }
        _LOGGER.info("request", extra={"fields": fields})


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time (UTC), level, message, and the fields given with it."""

    def format(self, record: logging.LogRecord) -> str:
        found: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            found["traceback"] = self.formatException(record.exc_info)
        return json.dumps(found)


def log_as_json() -> None:
    """Sends the log of this process, the project's and the server's, to standard error so."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("ppcls_sspcab", "ppcls_sspcab.serving", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], False
    for name in ("ppcls_sspcab", "uvicorn"):
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.INFO)
    for name in ("ppcls_sspcab.serving", "uvicorn.error"):
        logging.getLogger(name).propagate = True
