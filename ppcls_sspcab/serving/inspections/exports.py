"""Inspections as CSV and as Parquet, page after page, in memory of one page."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ppcls_sspcab.errors import UserError
from ppcls_sspcab.serving.inspections.record import Inspection
from ppcls_sspcab.utils.files import atomic_path
from ppcls_sspcab.utils.table import csv_cell

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = tuple(field.name for field in fields(Inspection))


def csv_pages(pages: Iterable[list[Inspection]]) -> Iterator[str]:
    """The line of titles, then the lines of each page.

    What a row lacks is empty, ``is_anomaly`` is ``true`` or ``false``, times are ISO 8601 in UTC,
    and texts are as :func:`ppcls_sspcab.utils.table.csv_cell` writes them.
    """
    yield _lines([COLUMNS])
    for page in pages:
        yield _lines([_cell(value) for value in vars(row).values()] for row in page)


def write_parquet(pages: Iterable[list[Inspection]], path: str | os.PathLike[str]) -> None:
    """Writes a Parquet file, a row group for each page; it appears when it is whole.

    Raises:
        OutputError: the file cannot be written.
        UserError: there is no pyarrow, or one that does not work with the NumPy there is.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError(f"Parquet needs a pyarrow that fits this NumPy: {error}") from error

    schema = _parquet_schema()
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for page in pages:
            writer.write_table(pa.Table.from_pylist([vars(row) for row in page], schema))


def _parquet_schema() -> pa.Schema:
    import pyarrow as pa

    kinds = {
        "str": pa.string(),
        "datetime": pa.timestamp("us", tz="UTC"),
        "float": pa.float64(),
        "bool": pa.bool_(),
    }
    return pa.schema(
        pa.field(item.name, kinds[kind], nullable=bool(optional))
        for item in fields(Inspection)
        for kind, optional, _ in [str(item.type).partition(" | None")]
    )


def _lines(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    return csv_cell(value)
