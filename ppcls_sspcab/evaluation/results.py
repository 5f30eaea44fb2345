"""What an evaluation found: figures with intervals, per defect, with the protocol behind them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ppcls_sspcab.errors import DataError, ModelError
from ppcls_sspcab.metric.image import (
    Metric,
    accuracy,
    auroc_interval,
    bootstrap_interval,
    detection_rate,
    f1,
    f1_max,
    false_alarm_rate,
    image_aupr,
    image_auroc,
    rate_interval,
)
from ppcls_sspcab.metric.pixel import PixelResults

COLUMNS = ("path", "label", "defect", "score", "normalized_score", "is_anomaly")
# The metrics, in the order of reports, by their titles there.
METRICS = {
    "image_auroc": "image AUROC",
    "image_aupr": "image AUPR",
    "f1": "F1",
    "f1_max": "F1, best possible",
    "false_alarm_rate": "false-alarm rate",
    "detection_rate": "detection rate",
    "accuracy": "accuracy",
}
SCORE_METRICS: dict[str, Metric] = {
    function.__name__: function for function in (image_auroc, image_aupr, f1_max)
}
# Measured on the decisions, 0 or 1: compared again, a rounded threshold could decide otherwise.
CALL_METRICS: dict[str, Metric] = {
    function.__name__: partial(function, threshold=0.5)
    for function in (f1, false_alarm_rate, detection_rate, accuracy)
}
# Rates, and the labels of the pictures that they are a share of.
RATES = {"false_alarm_rate": [0], "detection_rate": [1], "accuracy": [0, 1]}


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
        intervals: 95 % intervals, by the metric's name: of rates the exact binomial one, of AUROC
            Newcombe's, of others by stratified bootstrap, NaN where no resampling varies.
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
        if name not in METRICS
    }
    measured = {
        name: _measure(name, metric, labels, scores, seed)
        for name, metric in (SCORE_METRICS | further).items()
    } | {name: _measure(name, metric, labels, calls, seed) for name, metric in CALL_METRICS.items()}
    return Results(
        **{name: measured[name][0] for name in METRICS},
        threshold=float(threshold),
        counts={
            "pictures": len(rows),
            "good": int(np.sum(labels == 0)),
            "bad": int(np.sum(labels == 1)),
            "false_alarms": int(calls[labels == 0].sum()),
            "missed": int(np.sum(1 - calls[labels == 1])),
        },
        metrics={name: measured[name][0] for name in further},
        intervals={name: measured[name][1] for name in (*METRICS, *further)},
        per_defect=_per_defect(rows, labels, scores, calls, seed),
        protocol=dict(protocol),
        records=rows,
        pixel=pixel,
    )


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
    if name in RATES:
        total = int(np.isin(labels, RATES[name]).sum()) if math.isfinite(value) else 0
        return value, rate_interval(round(value * total) if total else 0, total)
    if name == "image_auroc":
        return value, auroc_interval(value, int(np.sum(labels == 0)), int(np.sum(labels == 1)))
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
