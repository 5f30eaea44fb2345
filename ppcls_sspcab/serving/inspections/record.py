"""One inspection as it is stored, and which of them are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal, get_args

from ppcls_sspcab.errors import UserError

Verdict = Literal["good", "anomalous", "unjudged"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


class StorageError(UserError):
    """Inspections or pictures that could not be stored or read; nobody may count on them."""


@dataclass(frozen=True)
class Inspection:
    """What was said of one picture, when, and by which model: one row.

    Texts longer than :data:`ppcls_sspcab.serving.inspections.schema.LENGTHS` are cut when they are
    stored, and what a database cannot hold of them (NUL, half a surrogate pair) becomes U+FFFD.

    Attributes:
        id: 32 hexadecimal digits, small letters; no two rows have the same.
        time: when the verdict was made; aware, kept as UTC in microseconds.
        model, model_version, backend, precision: what judged.
        request_id: of the request that the picture came with.
        name: what the caller called the picture; never a path that is opened.
        sha256: of the picture as it was sent, or of its pixels.
        picture: path below the picture store; "" where it is not kept.
        station, serial: as the caller gave them; "" where not.
        score, normalized_score, threshold, is_anomaly: as of
            :class:`ppcls_sspcab.result.Result`; None where the picture was not judged.
        error: why it was not judged; "" where it was.
        decode_ms, queue_ms, network_ms: milliseconds of the picture's way.
    """

    id: str
    time: datetime
    model: str
    model_version: str
    backend: str
    precision: str
    request_id: str
    name: str
    sha256: str
    picture: str = ""
    station: str = ""
    serial: str = ""
    score: float | None = None
    normalized_score: float | None = None
    threshold: float | None = None
    is_anomaly: bool | None = None
    error: str = ""
    decode_ms: float = 0.0
    queue_ms: float = 0.0
    network_ms: float = 0.0

    @property
    def verdict(self) -> Verdict:
        """What became of the picture."""
        if self.is_anomaly is None:
            return "unjudged"
        return "anomalous" if self.is_anomaly else "good"


@dataclass(frozen=True)
class Query:
    """Which inspections are meant: those that agree with all that is not None.

    Attributes:
        model, station, serial, sha256: equal, letter by letter.
        verdict: ``good``, ``anomalous`` or ``unjudged``.
        since: the earliest time; UTC where it has no zone.
        until: the first time that is too late; UTC where it has no zone.

    Raises:
        ValueError: an unknown verdict.
    """

    model: str | None = None
    station: str | None = None
    serial: str | None = None
    verdict: Verdict | None = None
    since: datetime | None = None
    until: datetime | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        if self.verdict is not None and self.verdict not in VERDICTS:
            raise ValueError(f"verdict {self.verdict!r}: must be one of {', '.join(VERDICTS)}")


def as_utc(time: datetime) -> datetime:
    """The time in UTC; one without a zone is UTC already."""
    if time.utcoffset() is None:
        return time.replace(tzinfo=timezone.utc)
    try:
        return time.astimezone(timezone.utc)
    except OverflowError:  # before the year 1 or after 9999
        nearest = datetime.min if time.year == 1 else datetime.max
        return nearest.replace(tzinfo=timezone.utc)
