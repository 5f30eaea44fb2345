"""The findings of a study as Markdown, CSV and JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

from ppcls_sspcab.study.rows import Findings, Row
from ppcls_sspcab.utils.table import (
    UNKNOWN,
    csv_table,
    interval,
    markdown_table,
    number,
    whole,
)

NOTE = (
    "Image AUROC is the mean over the seeds ± their standard deviation (n - 1). The interval holds "
    "95 % of the means over the seeds when the test pictures are resampled, good and bad apart. "
    "Detections and false alarms are counted at each detector's own threshold, over all seeds. "
    "Seconds and memory are of whole runs, training, fitting and evaluation: the mean over the "
    "seeds, and the largest."
)
DIAGNOSIS_TITLE = "best on test (not a result)"
DIAGNOSIS_NOTE = (
    "The column 'best on test' is picked on the test set: not a result. It is the mean over the "
    "seeds of the largest image AUROC on the test pictures at any evaluation while training, which "
    "is what picking the checkpoint there would have claimed. Nothing else ever sees it."
)


def _auroc(row: Row) -> str:
    spread = "" if math.isnan(row.image_auroc_std) else f" ± {row.image_auroc_std:.3f}"
    return number(row.image_auroc) + spread


def _rate(rate: float, count: int, pictures: int) -> str:
    return number(rate) + (f" ({count} of {pictures})" if pictures else "")


COLUMNS: dict[str, Callable[[Row], str]] = {
    "configuration": lambda row: row.config,
    "category": lambda row: row.category,
    "runs": lambda row: f"{row.done} of {row.planned}" + (" (failed)" if row.errors else ""),
    "image AUROC": _auroc,
    "95 % interval": lambda row: interval(row.interval),
    "image AUPR": lambda row: number(row.image_aupr),
    "detections": lambda row: _rate(row.detection_rate, row.bad - row.missed, row.bad),
    "false alarms": lambda row: _rate(row.false_alarm_rate, row.false_alarms, row.good),
    "pixel AUROC": lambda row: number(row.pixel_auroc),
    "AUPRO": lambda row: number(row.aupro),
    "seconds": lambda row: whole(row.seconds),
    "memory, MiB": lambda row: whole(row.peak_memory_mb),
    "GPU, MiB": lambda row: whole(row.peak_gpu_memory_mb),
}


def notes(diagnose: bool) -> list[str]:
    """What a reader must know of the columns."""
    return [NOTE, DIAGNOSIS_NOTE] if diagnose else [NOTE]


def tables(
    parts: Sequence[Sequence[Row]], diagnose: bool, without: str = ""
) -> list[tuple[list[str], list[list[str]]]]:
    """Header and cells of several tables with the same columns.

    Args:
        parts: the rows of each table.
        diagnose: whether to show the column picked on the test set.
        without: a column to leave out; those of which nothing is known are left out, too.
    """
    columns = dict(COLUMNS)
    if diagnose:
        columns[DIAGNOSIS_TITLE] = lambda row: number(row.best_on_test)
    rows = [row for part in parts for row in part]
    shown = {
        title: text
        for title, text in columns.items()
        if title != without and any(text(row) != UNKNOWN for row in rows)
    }
    return [
        (list(shown), [[text(row) for text in shown.values()] for row in part]) for part in parts
    ]


def to_markdown(found: Findings, diagnose: bool) -> str:
    """Means, categories, failures and notes."""
    planned = sum(row.planned for row in found.rows)
    missing = planned - sum(row.done for row in found.rows)
    failures = [
        f"* {row.config}, {row.category}: {text}" for row in found.rows for text in row.errors
    ]
    of_means, of_rows = tables([found.means, found.rows], diagnose)
    blocks = [
        "# Study",
        f"**{missing} of {planned} runs have no result.**" if missing else "",
        "## Means over the categories",
        markdown_table(*of_means),
        "## Categories",
        markdown_table(*of_rows),
        "## Failed runs\n\n" + "\n".join(failures) if failures else "",
        *notes(diagnose),
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def to_csv(found: Findings, diagnose: bool) -> str:
    """A row for each configuration's mean, then one for each of its categories."""
    plain = [_plain(row, diagnose) for row in found.means + found.rows]
    return csv_table(list(plain[0]), plain)


def to_dict(found: Findings, diagnose: bool) -> dict[str, Any]:
    """Values for JSON: ``notes``, ``means``, ``rows`` and ``protocols``; None where unknown."""
    return {
        "notes": notes(diagnose),
        "means": [_plain(row, diagnose) for row in found.means],
        "rows": [_plain(row, diagnose) for row in found.rows],
        "protocols": found.protocols,
    }


def _plain(row: Row, diagnose: bool) -> dict[str, Any]:
    values = dataclasses.asdict(row)
    low, high = values.pop("interval")
    errors = values.pop("errors")
    best = values.pop("best_on_test")
    values |= {"image_auroc_low": low, "image_auroc_high": high}
    if diagnose:
        values["best_on_test_not_a_result"] = best
    values["errors"] = "; ".join(errors)
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in values.items()
    }
