"""The findings of a study as one page of HTML that needs nothing beside itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ppcls_sspcab.evaluation.page import render
from ppcls_sspcab.study.rows import Findings, Row
from ppcls_sspcab.study.tables import notes, tables
from ppcls_sspcab.utils.table import UNKNOWN, flat


def to_html(found: Findings, diagnose: bool) -> str:
    """The whole page.

    Args:
        found: all rows.
        diagnose: whether to show the column picked on the test set.
    """
    categories = list(dict.fromkeys(row.category for row in found.rows))
    parts = [[row for row in found.rows if row.category == category] for category in categories]
    of_means, *of_categories = tables([found.means, *parts], diagnose, without="category")
    start = _start(found.means)
    return render(
        __package__,
        "study.html.j2",
        found=found,
        start=start,
        bars=[_bar(row, start) for row in found.means if not math.isnan(row.image_auroc)],
        of_means=of_means,
        of_categories=dict(zip(categories, of_categories, strict=True)),
        notes=notes(diagnose),
        protocol=_protocol_rows(found.protocols),
    )


def _start(means: Sequence[Row]) -> float:
    """The left end of the chart's scale, a tenth below 1."""
    low = min((_interval(row)[0] for row in means if not math.isnan(row.image_auroc)), default=0.5)
    return min(0.9, math.floor(low * 10) / 10)


def _bar(row: Row, start: float) -> dict[str, Any]:
    """A row's interval and mean as percentages of the chart's width."""
    left, right, mark = (
        100 * (value - start) / (1 - start) for value in (*_interval(row), row.image_auroc)
    )
    return {"row": row, "left": left, "width": right - left, "mark": mark}


def _interval(row: Row) -> tuple[float, float]:
    """The row's interval; the mean alone where all resamplings agree, which leaves none."""
    low, high = row.interval
    return (row.image_auroc, row.image_auroc) if math.isnan(low) else (low, high)


def _protocol_rows(protocols: dict[str, dict[str, Any]]) -> list[list[str]]:
    names = dict.fromkeys(name for protocol in protocols.values() for name in protocol)
    return [
        [name, *(flat(protocol.get(name, UNKNOWN)) for protocol in protocols.values())]
        for name in names
    ]
