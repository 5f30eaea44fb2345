"""What an evaluation found: numbers with intervals, per defect, with the protocol behind them."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ppcls_sspcab.errors import DataError, ModelError
from ppcls_sspcab.metric.image import (
    Metric,
    accuracy,
    bootstrap_interval,
    detection_rate,
    f1,
    f1_max,
    false_alarm_rate,
    image_aupr,
    image_auroc,
    unanimous_interval,
)
from ppcls_sspcab.metric.pixel import PixelResults
from ppcls_sspcab.utils.files import atomic_write

COLUMNS = ("path", "label", "defect", "score", "normalized_score", "is_anomaly")
TITLES = {
    "image_auroc": "image AUROC",
    "image_aupr": "image AUPR",
    "f1": "F1",
    "f1_max": "F1, best possible",
    "false_alarm_rate": "false-alarm rate",
    "detection_rate": "detection rate",
    "accuracy": "accuracy",
}
PIXEL_TITLES = {
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO to 30 %",
    "pixel_f1": "pixel F1",
    "pixel_f1_max": "pixel F1, best possible",
    "pixel_iou": "pixel IoU",
    "pixel_false_alarm_rate": "pixel false-alarm rate",
}
SCORE_METRICS: dict[str, Metric] = {
    function.__name__: function for function in (image_auroc, image_aupr, f1_max)
}
# These count the decisions themselves, 0 or 1, so that no rounding of the threshold can differ.
CALL_METRICS: dict[str, Metric] = {
    function.__name__: partial(function, threshold=0.5)
    for function in (f1, false_alarm_rate, detection_rate, accuracy)
}
# The labels of the pictures that each rate is a share of.
RATED = {"false_alarm_rate": [0], "detection_rate": [1], "accuracy": [0, 1]}


@dataclasses.dataclass(frozen=True)
class DefectResult:
    """One defect type: its pictures against all good ones, NaN where there are none.

    Attributes:
        count: number of pictures.
        detected: how many of them are called anomalies.
        intervals: of ``image_auroc`` and ``detection_rate``, as in :class:`Results`.
    """

    count: int
    detected: int
    image_auroc: float
    detection_rate: float
    intervals: dict[str, tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Results:
    """The measurements of one category; every rate lies in [0, 1], NaN where it has no meaning.

    ``f1``, ``false_alarm_rate``, ``detection_rate`` and ``accuracy`` are those of the decisions
    at the calibrated threshold. ``f1_max`` picks its threshold on the test pictures.

    Attributes:
        threshold: the calibrated threshold, in the unit of the scores.
        counts: ``pictures``, ``good``, ``bad``, ``false_alarms`` and ``missed``.
        metrics: further metrics, by registered name.
        intervals: 95 % stratified bootstrap intervals, by the metric's name; of a rate that is
            0 or 1, where no resampling can vary, the exact binomial one.
        per_defect: by the defect's name, sorted.
        protocol: how the detector came about, as the caller says.
        records: one dict a picture, with the keys ``COLUMNS``.
        pixel: how well the maps find the defects; None for a detector without maps.
    """

    image_auroc: float
    image_aupr: float
    f1: float
    f1_max: float
    false_alarm_rate: float
    detection_rate: float
    accuracy: float
    threshold: float
    counts: dict[str, int]
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    per_defect: dict[str, DefectResult]
    protocol: dict[str, Any]
    records: list[dict[str, Any]]
    pixel: PixelResults | None = None

    @property
    def category(self) -> str:
        """The product, as the protocol names it."""
        return str(self.protocol.get("category", ""))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, always in the same order; NaN as None, without the records."""
        fields = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("records", "per_defect", "pixel")
        }
        pixel = dataclasses.asdict(self.pixel) if self.pixel is not None else {}
        defects = {name: dataclasses.asdict(defect) for name, defect in self.per_defect.items()}
        protocol = fields.pop("protocol")
        plain = _plain({"category": self.category, **fields, **pixel, "per_defect": defects})
        return {**plain, "protocol": _plain(protocol)}

    def to_markdown(self) -> str:
        """The tables of ``results.md``."""
        blocks = [self.summary(), self._metric_table(), self._defect_table()]
        if self.protocol:
            rows = [(f"`{_cell(key)}`", flat(value)) for key, value in self.protocol.items()]
            blocks.append(markdown_table(["protocol", ""], rows))
        return f"# {self.category or 'Results'}\n\n" + "\n\n".join(filter(None, blocks)) + "\n"

    def summary(self) -> str:
        """What was measured and what went wrong, in two sentences."""
        counts = self.counts
        return (
            f"{counts['pictures']} test pictures, {counts['good']} good and {counts['bad']} bad. "
            f"At the threshold {self.threshold:.5g}: {counts['false_alarms']} good called "
            f"anomalies, {counts['missed']} bad missed."
        )

    def metric_rows(self) -> list[tuple[str, str, str]]:
        """Title, value and 95 % interval of every metric, as texts."""
        values = {name: getattr(self, name) for name in TITLES} | self.metrics
        rows = [
            (TITLES.get(name, name), number(value), interval(self.intervals[name]))
            for name, value in values.items()
        ]
        if self.pixel is not None:
            rows += [
                (title, number(getattr(self.pixel, name)), "–")
                for name, title in PIXEL_TITLES.items()
            ]
        return rows

    def _metric_table(self) -> str:
        rows = [(_cell(title), *texts) for title, *texts in self.metric_rows()]
        return markdown_table(["metric", "value", "95 % interval"], rows)

    def _defect_table(self) -> str:
        rows = [
            (
                _cell(name),
                str(defect.count),
                str(defect.detected),
                number(defect.detection_rate),
                interval(defect.intervals["detection_rate"]),
                number(defect.image_auroc),
                interval(defect.intervals["image_auroc"]),
            )
            for name, defect in self.per_defect.items()
        ]
        header = ["defect", "pictures", "detected", "rate", "95 %", "image AUROC", "95 %"]
        return markdown_table(header, rows) if rows else ""


def evaluate_scores(
    records: Sequence[Mapping[str, Any]],
    threshold: float,
    seed: int,
    protocol: Mapping[str, Any],
    metrics: Mapping[str, Metric] | None = None,
    pixel: PixelResults | None = None,
) -> Results:
    """Measures the scores of test pictures.

    Args:
        records: one mapping a picture with the keys ``COLUMNS``; ``label`` 0 good, 1 bad.
        threshold: the calibrated threshold, which gave each record its ``is_anomaly``.
        seed: of the bootstrap.
        protocol: what goes into the results beside the numbers: seed, steps, selection,
            category, versions...
        metrics: further registered metrics, by name.
        pixel: what the maps were measured at.

    Raises:
        DataError: no records.
        ModelError: a score that is not finite.
    """
    rows = [{name: record[name] for name in COLUMNS} for record in records]
    _check(rows)
    labels = np.array([int(row["label"]) for row in rows])
    scores = np.array([row["score"] for row in rows], np.float64)
    calls = np.array([bool(row["is_anomaly"]) for row in rows], np.float64)
    further = {
        name: np.vectorize(metric, signature="(n),(n)->()")
        for name, metric in (metrics or {}).items()
        if name not in TITLES
    }
    measured = {
        name: _measure(name, metric, labels, scores, seed)
        for name, metric in (SCORE_METRICS | further).items()
    } | {name: _measure(name, metric, labels, calls, seed) for name, metric in CALL_METRICS.items()}
    return Results(
        **{name: measured[name][0] for name in TITLES},
        threshold=float(threshold),
        counts={
            "pictures": len(rows),
            "good": int(np.sum(labels == 0)),
            "bad": int(np.sum(labels == 1)),
            "false_alarms": int(calls[labels == 0].sum()),
            "missed": int(np.sum(1 - calls[labels == 1])),
        },
        metrics={name: measured[name][0] for name in further},
        intervals={name: measured[name][1] for name in (*TITLES, *further)},
        per_defect=_per_defect(rows, labels, scores, calls, seed),
        protocol=dict(protocol),
        records=rows,
        pixel=pixel,
    )


def write_results(results: Results, folder: str | os.PathLike[str]) -> None:
    """Writes ``results.json``, ``results.csv`` (a row a picture) and ``results.md``."""
    base = Path(folder)
    text = json.dumps(results.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    atomic_write(base / "results.json", text + "\n")
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(results.records)
    atomic_write(base / "results.csv", table.getvalue())
    atomic_write(base / "results.md", results.to_markdown())


def mean_values(results: Sequence[Results]) -> dict[str, float]:
    """The mean of each metric over the categories in which it has a meaning; else NaN."""
    means = {}
    for name in TITLES:
        values = [getattr(result, name) for result in results]
        known = [value for value in values if not math.isnan(value)]
        means[name] = math.fsum(known) / len(known) if known else math.nan
    return means


def summary_table(results: Sequence[Results]) -> str:
    """A Markdown table with a row for each category and the mean, as ``category: all`` prints."""
    rows = [
        (
            _cell(result.category),
            str(result.counts["good"]),
            str(result.counts["bad"]),
            *(number(getattr(result, name)) for name in TITLES),
        )
        for result in results
    ]
    totals = (str(sum(result.counts[kind] for result in results)) for kind in ("good", "bad"))
    means = (f"**{number(value)}**" for value in mean_values(results).values())
    header = ["category", "good", "bad", *TITLES.values()]
    return markdown_table(header, [*rows, ("**mean**", *totals, *means)]) + "\n"


def _check(rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        raise DataError("there are no test pictures to measure on")
    broken = [row["path"] for row in rows if not math.isfinite(row["score"])]
    if broken:
        raise ModelError(
            f"{len(broken)} of {len(rows)} pictures have a score that is not finite (first: "
            f"{broken[0]}): the detector's weights are damaged or its training diverged"
        )


def _per_defect(
    rows: Sequence[Mapping[str, Any]],
    labels: np.ndarray,
    scores: np.ndarray,
    calls: np.ndarray,
    seed: int,
) -> dict[str, DefectResult]:
    names = np.array([str(row["defect"]) for row in rows])
    table = {}
    for name in sorted(set(names[labels == 1])):
        chosen = (labels == 0) | ((labels == 1) & (names == name))
        kinds, called = labels[chosen], calls[chosen]
        auroc = _measure("image_auroc", image_auroc, kinds, scores[chosen], seed)
        rate = _measure("detection_rate", CALL_METRICS["detection_rate"], kinds, called, seed)
        table[str(name)] = DefectResult(
            count=int(kinds.sum()),
            detected=int(called[kinds == 1].sum()),
            image_auroc=auroc[0],
            detection_rate=rate[0],
            intervals={"image_auroc": auroc[1], "detection_rate": rate[1]},
        )
    return table


def _measure(
    name: str, metric: Metric, labels: np.ndarray, values: np.ndarray, seed: int
) -> tuple[float, tuple[float, float]]:
    """A metric and its 95 % interval."""
    value = float(metric(labels, values))
    if name in RATED and value in (0, 1):
        return value, unanimous_interval(value, int(np.isin(labels, RATED[name]).sum()))
    return value, bootstrap_interval(metric, labels, values, seed)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def flat(value: Any) -> str:
    """A plain value, or a mapping's items in a row, for a cell of a table."""
    if isinstance(value, Mapping):
        return ", ".join(f"{_cell(key)} {flat(item)}" for key, item in value.items())
    return _cell(value)


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def number(value: float) -> str:
    """A value with three digits; a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def interval(bounds: tuple[float, float]) -> str:
    """Two bounds with three digits; a dash for NaN."""
    return "–" if math.isnan(bounds[0]) else f"{bounds[0]:.3f} – {bounds[1]:.3f}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, aligned so that it also reads well as plain text."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(map(str.ljust, cells, widths)) + " |"

    return "\n".join(
        [line(header), line(["-" * max(width, 3) for width in widths]), *map(line, rows)]
    )
