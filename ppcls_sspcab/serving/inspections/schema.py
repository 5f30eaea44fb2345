"""The table of inspections, and how one becomes a row and comes back."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Dialect,
    Double,
    Index,
    MetaData,
    String,
    Table,
    TypeDecorator,
)

from ppcls_sspcab.serving.inspections.record import Inspection, as_utc

# Most characters of each text.
LENGTHS = {
    "id": 32,
    "model": 200,
    "model_version": 200,
    "backend": 50,
    "precision": 50,
    "request_id": 200,
    "name": 1000,
    "sha256": 64,
    "picture": 100,
    "station": 200,
    "serial": 200,
    "error": 2000,
}
_ID = re.compile("[0-9a-f]{32}")
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")


class UtcTime(TypeDecorator[datetime]):
    """A time that goes in with any zone and comes out in UTC; SQLite keeps none."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else as_utc(value)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else as_utc(value)


def _text(name: str) -> Column[str]:
    return Column(name, String(LENGTHS[name]), nullable=False)


def _number(name: str, nullable: bool) -> Column[float]:
    return Column(name, Double(), nullable=nullable)


METADATA = MetaData()

# The columns stand in the order of Inspection's attributes.
INSPECTIONS = Table(
    "inspections",
    METADATA,
    Column("id", String(LENGTHS["id"]), primary_key=True),
    Column("time", UtcTime(), nullable=False),
    *map(_text, ("model", "model_version", "backend", "precision", "request_id", "name")),
    *map(_text, ("sha256", "picture", "station", "serial")),
    *(_number(name, nullable=True) for name in ("score", "normalized_score", "threshold")),
    Column("is_anomaly", Boolean()),
    _text("error"),
    *(_number(name, nullable=False) for name in ("decode_ms", "queue_ms", "network_ms")),
    Index("inspections_time", "time", "id"),
    Index("inspections_model", "model", "time", "id"),
    Index("inspections_station", "station", "time", "id"),
    Index("inspections_serial", "serial", "time", "id"),
    Index("inspections_is_anomaly", "is_anomaly", "time", "id"),
    Index("inspections_sha256", "sha256"),
)


def to_row(inspection: Inspection) -> dict[str, Any]:
    """The values of a row, by column, each of the type that both databases take.

    Raises:
        ValueError: an id that is none, a time without a zone, a number that is not finite.
    """
    if not _ID.fullmatch(inspection.id):
        raise ValueError(f"id {inspection.id!r}: must be 32 hexadecimal digits")
    if inspection.time.utcoffset() is None:
        raise ValueError(f"inspection {inspection.id}: its time has no zone")
    row: dict[str, Any] = {"time": inspection.time}
    for column in INSPECTIONS.columns:
        value = getattr(inspection, column.name)
        if column.name in LENGTHS:
            row[column.name] = stored_text(column.name, value)
        elif isinstance(column.type, Boolean):
            row[column.name] = None if value is None else bool(value)
        elif isinstance(column.type, Double):
            row[column.name] = None if value is None else float(value)
            if value is not None and not math.isfinite(value):
                raise ValueError(f"inspection {inspection.id}: {column.name} is {value}")
    return row


def from_row(row: Sequence[Any]) -> Inspection:
    """The inspection that a row of all columns holds."""
    return Inspection(*row)


def stored_text(column: str, value: str) -> str:
    """A text as its column keeps it: cut, and U+FFFD for NUL and halves of surrogate pairs."""
    return _NO_TEXT.sub("\ufffd", str(value)[: LENGTHS[column]])
