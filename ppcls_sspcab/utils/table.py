"""Tables of text, in Markdown, CSV and plain, and how figures stand in their cells."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

UNKNOWN = "–"


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
    """A CSV with a line of titles; each row has a value for each column."""
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue()


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
    return str(cell).replace("|", "\\|").replace("\n", " ")


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]
