"""Running the service until it is told to stop."""

from __future__ import annotations

import socket
from contextlib import suppress

import uvicorn

from ppcls_sspcab.errors import UserError
from ppcls_sspcab.runtime.predictor import runs_paddle
from ppcls_sspcab.serving.access import Tokens, needs_token
from ppcls_sspcab.serving.app import create_app
from ppcls_sspcab.serving.protocol import bounded
from ppcls_sspcab.serving.service import Service
from ppcls_sspcab.serving.settings import Settings
from ppcls_sspcab.serving.watch import log_as_json
from ppcls_sspcab.utils.launcher import launch
from ppcls_sspcab.utils.logger import get_logger

GRACE_SECONDS = 30  # for what was taken when the service is told to stop
KEEP_ALIVE_SECONDS = 75
MOST_CONNECTIONS = 1000


def serve(settings: Settings) -> int:
    """Serves until SIGTERM or Ctrl-C, then answers what it took.

    Returns:
        the exit code, 0.

    Raises:
        UserError: an address that cannot be listened at, or what :meth:`Service.open` refuses.
    """
    if settings.token_file is None and needs_token(settings.host):
        raise UserError(
            f"--host {settings.host}: others can reach it, so --token-file FILE is needed; "
            "without one give --host 127.0.0.1"
        )
    if any(
        runs_paddle(folder, settings.backend, settings.precision)
        for folder in settings.models.values()
    ):
        launch()
    tokens = None if settings.token_file is None else Tokens.read(settings.token_file)
    listening = _listen(settings)
    log_as_json()
    service = Service.open(settings)
    config = uvicorn.Config(
        create_app(service, tokens),
        http=bounded(settings.seconds),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
        lifespan="on",
    )
    scheme = "http" if settings.certificate is None else "https"
    port = listening.getsockname()[1]
    names = ", ".join(service.models)
    get_logger().info(f"{names}: served at {scheme}://{settings.host}:{port}/v1/models")
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):  # uvicorn raises the signal again that it stopped by
        server.run(sockets=[listening])
    return 0


def _listen(settings: Settings) -> socket.socket:
    """The listening socket; taken before the models are loaded, so that a taken port is said."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"--host {settings.host} --port {settings.port}: cannot listen there: {reason}"
        ) from None
    return found
