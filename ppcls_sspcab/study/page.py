"""``benchmark.html``: the tables of a benchmark as one file that needs nothing beside itself."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any

from ppcls_sspcab.evaluation.report_page import POLICY, STYLE, html_table
from ppcls_sspcab.evaluation.results import flat, interval, number
from ppcls_sspcab.study.table import DIAGNOSIS_NOTE, NOTE, Row, tables

OWN_STYLE = """
main { max-width: 1320px; }
th, td { padding: 6px 9px; }
th { min-width: 4.2em; }
.chart .name span:last-child { white-space: nowrap; }
.chart { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 10px 12px; }
.chart div { margin: 8px 0; }
.chart .name { display: flex; justify-content: space-between; gap: 12px; font-size: .92rem; }
.chart .scale { position: relative; height: 12px; margin: 2px 0 0; background: var(--ground);
  border-radius: 6px; overflow: hidden; }
.chart .scale i { position: absolute; top: 0; bottom: 0; background: #9cc9e5; }
.chart .scale b { position: absolute; top: 0; bottom: 0; width: 3px; background: var(--good); }
.wrong { color: var(--bad); overflow-wrap: anywhere; }
td:first-child, th:first-child { position: sticky; left: 0; background: var(--card);
  min-width: 8.5em; box-shadow: 1px 0 0 var(--line); }
th { vertical-align: bottom; }
th:last-child { min-width: 8.5em; }
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Benchmark</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>Benchmark</h1>
<p>{summary}</p>
{failures}
<h2>Image AUROC, mean over the categories</h2>
<div class="chart">{chart}</div>
<h2>Means over the categories</h2>
{means}
{categories}
<h2>How to read it</h2>
{notes}
<h2>Protocol</h2>
{protocol}
</main>
</body>
</html>
"""


def page(
    means: Sequence[Row],
    rows: Sequence[Row],
    protocols: dict[str, dict[str, Any]],
    diagnose: bool,
) -> str:
    """The whole page.

    Args:
        means, rows: as :func:`ppcls_sspcab.study.table.collect` gives them.
        protocols: how each configuration's detectors came about.
        diagnose: whether the column picked on the test set is shown.
    """
    notes = [NOTE, DIAGNOSIS_NOTE] if diagnose else [NOTE]
    categories = list(dict.fromkeys(row.category for row in rows))
    parts = [[row for row in rows if row.category == category] for category in categories]
    of_means, *of_categories = (
        html_table(*found) for found in tables([means, *parts], diagnose, without="category")
    )
    return PAGE.format(
        policy=POLICY,
        style=STYLE + OWN_STYLE,
        summary=html.escape(_summary(means, rows)),
        failures="".join(_failures(rows)),
        chart="".join(_chart(means)),
        means=of_means,
        categories="".join(
            f"<h2>{html.escape(category)}</h2>{table}"
            for category, table in zip(categories, of_categories, strict=True)
        ),
        notes="".join(f'<p class="note">{html.escape(note)}</p>' for note in notes),
        protocol=_protocol(protocols),
    )


def _summary(means: Sequence[Row], rows: Sequence[Row]) -> str:
    done, planned = sum(row.done for row in rows), sum(row.planned for row in rows)
    categories = len({row.category for row in rows})
    return (
        f"{len(means)} configurations, {categories} "
        f"{'category' if categories == 1 else 'categories'}; {done} of {planned} runs have results."
    )


def _failures(rows: Sequence[Row]) -> Iterable[str]:
    for row in rows:
        for error in row.errors:
            text = f"{row.config}, {row.category}, {error}"
            yield f'<p class="wrong">failed: {html.escape(text)}</p>'


def _chart(means: Sequence[Row]) -> Iterable[str]:
    """A bar from the interval's one end to the other, with a mark at the mean, on one scale."""
    known = [row for row in means if not math.isnan(row.image_auroc)]
    low = min((row.interval[0] for row in known), default=0.5)
    start = min(0.5, math.floor(low * 10) / 10) if low < 0.6 else math.floor(low * 10) / 10
    start = min(start, 0.9)

    def place(value: float) -> float:
        return 100 * (value - start) / (1 - start)

    for row in known:
        left, right = map(place, row.interval)
        yield (
            f'<div><div class="name"><span>{html.escape(row.config)}</span>'
            f"<span>{number(row.image_auroc)} ({interval(row.interval)})</span></div>"
            f'<div class="scale"><i style="left: {left:.2f}%; width: {right - left:.2f}%"></i>'
            f'<b style="left: calc({place(row.image_auroc):.2f}% - 2px)"></b></div></div>'
        )
    yield f'<p class="note">The scale goes from {start:.1f} to 1.</p>'


def _protocol(protocols: dict[str, dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for found in protocols.values() for name in found))
    rows = [[name, *(flat(found.get(name, "–")) for found in protocols.values())] for name in names]
    return html_table(["first finished run of", *protocols], rows, 0)
