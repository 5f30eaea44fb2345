"""What the command line says of a service."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ppcls_sspcab.errors import UserError

MIB = 1 << 20


@dataclass(frozen=True)
class Settings:
    """How the service judges, keeps, and guards itself.

    Attributes:
        models: folder that ``export`` wrote, by the model's name in the service.
        backend, precision, threads: as of :class:`ppcls_sspcab.runtime.predictor.Predictor`.
        batch: most pictures run through a network together.
        wait_ms: how long one waits for others that are being decoded.
        queue: most pictures of a model taken at once; above that the answer is 503.
        host, port: where to listen.
        database: SQLAlchemy URL of the inspections; ``sqlite:///`` and a file, or PostgreSQL.
        store: folder of kept pictures; None keeps none.
        keep: ``all``, ``anomalies`` (and what could not be judged), ``every:N`` or ``none``.
        keep_days, keep_gib: kept pictures that are older, or beyond that size, are removed.
        token_file: see :class:`ppcls_sspcab.serving.access.Tokens`.
        certificate, key: PEM files for TLS.
        body_mib: of one request.
        megapixels: of one picture.
        pictures: of one request.
        rate: requests a second of one address; 0 for any number.
        seconds: in which a request must be answered, and its body received.
    """

    models: Mapping[str, str]
    backend: Literal["auto", "paddle", "onnx", "openvino"] = "auto"
    precision: Literal["fp32", "int8"] = "fp32"
    threads: int | None = None
    batch: int = 8
    wait_ms: float = 10.0
    queue: int = 256
    host: str = "127.0.0.1"
    port: int = 8000
    database: str = "sqlite:///inspections.db"
    store: Path | None = None
    keep: str = "anomalies"
    keep_days: float | None = None
    keep_gib: float | None = None
    token_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    body_mib: float = 32.0
    megapixels: float = 50.0
    pictures: int = 64
    rate: float = 0.0
    seconds: float = 30.0

    def __post_init__(self) -> None:
        if not self.models:
            raise UserError("--model NAME=DIR: at least one model is needed")
        if (self.certificate is None) != (self.key is None):
            raise UserError("--tls-cert and --tls-key belong together: give both")
        if self.queue < self.pictures:
            raise UserError(
                f"--queue {self.queue}: a request of --pictures {self.pictures} would never be "
                "taken: give a queue of at least as many"
            )

    @property
    def most_pixels(self) -> int:
        """Of one picture."""
        return int(self.megapixels * 1e6)

    @property
    def body_bytes(self) -> int:
        """Of one request."""
        return int(self.body_mib * MIB)


def named_models(words: list[str]) -> dict[str, str]:
    """``NAME=DIR``, or a folder alone, whose own name then is the model's.

    Raises:
        UserError: a name that cannot stand in an address, or stands there twice.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, folder = word.partition("=")
        if not equals:
            name, folder = Path(os.path.abspath(word)).name, word
        if not name or not all(letter.isalnum() or letter in "._-" for letter in name):
            raise UserError(
                f"--model {word}: the name {name!r} may hold letters, digits, '.', '_' and '-' "
                "only: give NAME=DIR"
            )
        if name in found:
            raise UserError(f"--model {word}: the name {name!r} stands there twice")
        found[name] = folder
    return found
