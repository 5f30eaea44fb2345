"""Tables of text, in Markdown, CSV and plain, and how figures stand in their cells."""

from __future__ import annotations

import csv
import io
import math
import re
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ppcls_sspcab.errors import printable

UNKNOWN = "–"
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def markdown_table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table without a final line break, aligned so that it reads well as plain text.

    Args:
        header: the columns' titles.
        rows: cells, as many as titles; bars and line breaks in them are escaped.
    """
    texts = [[_escaped(cell) for cell in row] for row in (header, *rows)]
    widths = [max(3, width) for width in _widths(texts)]
    texts.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in texts)


def plain_table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a table for a console, its columns two spaces apart."""
    widths = _widths(rows)
    return ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def csv_table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A CSV with a line of titles; each row has a value for each column, by :func:`csv_cell`."""
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: csv_cell(value) for name, value in row.items()} for row in rows)
    return table.getvalue()


def csv_cell(value: Any) -> Any:
    """A value for a cell that a spreadsheet opens.

    A text that would be a formula (``=``, ``+``, ``-`` or ``@`` first) gets an apostrophe before
    it; line feeds and other control characters become escapes such as ``\\n``.
    """
    if not isinstance(value, str):
        return value
    text = _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def number(value: float) -> str:
    """A value with three digits; a dash for NaN."""
    return UNKNOWN if math.isnan(value) else f"{value:.3f}"


def whole(value: float) -> str:
    """A value without digits; a dash for NaN."""
    return UNKNOWN if math.isnan(value) else f"{value:.0f}"


def interval(bounds: tuple[float, float]) -> str:
    """Two bounds with three digits; a dash for NaN."""
    return UNKNOWN if math.isnan(bounds[0]) else f"{bounds[0]:.3f} – {bounds[1]:.3f}"


def mean_and_spread(values: Sequence[float], signed: bool = False) -> str:
    """The mean of figures, with their standard deviation (n - 1) if there are several.

    Args:
        values: a dash stands for none.
        signed: shows a plus as well, for differences.
    """
    if not values:
        return UNKNOWN
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):{'+' if signed else ''}.3f}{spread}"


def flat(value: Any) -> str:
    """A plain value as text; of a mapping, its keys and values in a row."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {flat(item)}" for key, item in value.items())
    return str(value)


def _escaped(cell: object) -> str:
    return printable(str(cell).replace("\n", " ")).replace("|", "\\|")


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]
