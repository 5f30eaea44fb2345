"""The results of an evaluation as files: figures for programs, Markdown tables for readers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from ppcls_sspcab.evaluation.results import COLUMNS, METRICS, Results
from ppcls_sspcab.paths import RunFolder
from ppcls_sspcab.utils.files import atomic_write, write_json
from ppcls_sspcab.utils.table import UNKNOWN, csv_table, flat, interval, markdown_table, number

PIXEL_TITLES = {
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO to 30 %",
    "pixel_f1": "pixel F1",
    "pixel_f1_max": "pixel F1, best possible",
    "pixel_iou": "pixel IoU",
    "pixel_false_alarm_rate": "pixel false-alarm rate",
}
# What each metric says, by its title.
MEANINGS = {
    "image AUROC": "the chance that a bad picture scores above a good one; needs no threshold",
    "image AUPR": "the mean share of bad pictures among those above a threshold, over all "
    "thresholds; it falls with the share of bad test pictures",
    "F1": "one figure of bad ones found and of those called anomalies that are bad, at the "
    "threshold in use",
    "F1, best possible": "F1 at the threshold that suits these very pictures: an upper bound",
    "false-alarm rate": "the share of good pictures called anomalies",
    "detection rate": "the share of bad pictures called anomalies",
    "accuracy": "the share of all pictures called rightly; it depends on how many are bad",
    "pixel AUROC": "the chance that a marked pixel has a larger map value than one that is not",
    "AUPRO to 30 %": "the mean overlap of each marked region with what is found, over the "
    "thresholds that find up to 30 % of the other pixels; small defects count as large ones",
    "pixel F1": "F1 of pixels at the pixel threshold",
    "pixel F1, best possible": "F1 of pixels at the threshold that suits these very maps",
    "pixel IoU": "overlap of found and marked pixels over their union, at the pixel threshold",
    "pixel false-alarm rate": "the share of the pixels of good pictures above the pixel threshold",
}
TWO_THRESHOLDS = (
    "Whether a part is good is decided by its image score; contours are drawn by the pixel "
    "threshold, which is set for itself, so that a small share of the pixels of good pictures lies "
    "above it. So a good part may have contours, and a bad one none."
)
METRIC_HEADER = ("metric", "value", "95 % interval")
THRESHOLD_HEADER = ("threshold", "false alarms", "rate", "detected", "rate", "")
# What a threshold of the table may cost in false alarms on the test pictures, and what of the bad
# ones it must find.
ALARM_RATES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)
DETECTION_RATES = (1.0, 0.95, 0.9)
THRESHOLD_NOTE = (
    "What other thresholds would have done on these test pictures (`eval --threshold`). One that "
    "is chosen here has to be measured on others."
)
DEFECT_HEADER = ("defect", "pictures", "detected", "rate", "95 %", "image AUROC", "95 %")


def write_results(results: Results, folder: RunFolder) -> None:
    """Writes ``results.json``, ``results.csv`` (a row a picture) and ``results.md``."""
    write_json(folder.results_json, results.to_dict())
    atomic_write(folder.results_csv, csv_table(COLUMNS, results.records))
    atomic_write(folder.results_md, to_markdown(results))


def to_markdown(results: Results) -> str:
    """What was measured, the metrics, the defect types and the protocol."""
    blocks = [
        f"# {results.category or 'Results'}",
        summary(results),
        markdown_table(METRIC_HEADER, metric_rows(results)),
        "\n".join(f"* {title}: {text}" for title, text in meanings(results)),
    ]
    if results.per_defect:
        blocks.append(markdown_table(DEFECT_HEADER, defect_rows(results)))
    if thresholds := threshold_rows(results):
        blocks += [THRESHOLD_NOTE, markdown_table(THRESHOLD_HEADER, thresholds)]
    if results.protocol:
        rows = [(f"`{key}`", flat(value)) for key, value in results.protocol.items()]
        blocks.append(markdown_table(["protocol", ""], rows))
    return "\n\n".join(blocks) + "\n"


def summary(results: Results) -> str:
    """What was measured and what went wrong, in a few sentences."""
    counts = results.counts
    if not (counts["good"] and counts["bad"]):
        return _summary_of_one_kind(results)
    unfit = results.pixel.pixel_counts["unfit_masks"] if results.pixel is not None else 0
    left_out = (
        f" {unfit} bad pictures with an unfit mask are left out of the pixel metrics; the log "
        "names them."
    )
    return (
        f"{counts['pictures']} test pictures, {counts['good']} good and {counts['bad']} bad. "
        f"At the threshold {results.threshold:.5g}: {counts['false_alarms']} good called "
        f"anomalies, {counts['missed']} bad missed." + left_out * bool(unfit)
    )


def meanings(results: Results) -> list[tuple[str, str]]:
    """Title and meaning of each metric of :func:`metric_rows` that is the project's own."""
    titles = [title for title, *_ in metric_rows(results)]
    return [(title, MEANINGS[title]) for title in titles if title in MEANINGS]


def _summary_of_one_kind(results: Results) -> str:
    """What is known, and what is not, where all test pictures are good, or all bad."""
    counts = results.counts
    if counts["good"]:
        low, high = results.intervals["false_alarm_rate"]
        return (
            f"{counts['good']} test pictures, all good. At the threshold {results.threshold:.5g}: "
            f"{counts['false_alarms']} called anomalies (95 %: {low:.1%} to {high:.1%} of new good "
            "pictures). How many defects are found is not known, as there is no bad picture."
            + _on_synthetic_defects(results)
        )
    return (
        f"{counts['bad']} test pictures, all bad. At the threshold {results.threshold:.5g}: "
        f"{counts['missed']} missed. How many good parts are called anomalies is not known, as "
        "there is no good picture."
    )


def synthetic_auroc(results: Results) -> float:
    """AUROC of the image score on synthetic defects, by the protocol; NaN if it is not there."""
    found = results.protocol.get("image_score_auroc_on_synthetic_defects") or {}
    return float(found.get(results.protocol.get("image_score"), math.nan))


def _on_synthetic_defects(results: Results) -> str:
    value = synthetic_auroc(results)
    if math.isnan(value):
        return ""
    return (
        f" On synthetic defects, made from held-out good pictures, its AUROC is {value:.3f}; real "
        "ones may be harder."
    )


def metric_rows(results: Results) -> list[tuple[str, str, str]]:
    """Title, value and 95 % interval of every metric that has a meaning, as texts."""
    values = {name: getattr(results, name) for name in METRICS} | results.metrics
    rows = [
        (METRICS.get(name, name), number(value), interval(results.intervals[name]))
        for name, value in values.items()
        if not math.isnan(value)
    ]
    if results.pixel is not None:
        rows += [
            (title, number(getattr(results.pixel, name)), UNKNOWN)
            for name, title in PIXEL_TITLES.items()
            if not math.isnan(getattr(results.pixel, name))
        ]
    return rows


def defect_rows(results: Results) -> list[tuple[object, ...]]:
    """The cells of every defect type, as ``DEFECT_HEADER`` names them."""
    return [
        (
            name,
            defect.count,
            defect.detected,
            number(defect.detection_rate),
            interval(defect.intervals["detection_rate"]),
            number(defect.image_auroc),
            interval(defect.intervals["image_auroc"]),
        )
        for name, defect in results.per_defect.items()
    ]


def threshold_rows(results: Results) -> list[tuple[object, ...]]:
    """The cells of thresholds against false alarms and detections, from the lowest threshold on.

    The lowest that keep a rate of false alarms, the highest that keep one of detections, and the
    one in use, which is marked; none without good or without bad pictures.
    """
    scores = np.array([record["score"] for record in results.records], np.float64)
    bad_ones = np.array([record["label"] for record in results.records]) == 1
    good, bad = np.sort(scores[~bad_ones]), np.sort(scores[bad_ones])
    if not len(good) or not len(bad):
        return []
    highest_passed = [len(good) - 1 - math.floor(rate * len(good) + 1e-9) for rate in ALARM_RATES]
    lowest_found = [len(bad) - math.ceil(rate * len(bad) - 1e-9) for rate in DETECTION_RATES]
    wanted = {_beside(scores, good[index], 1) for index in highest_passed}
    wanted |= {_beside(scores, bad[index], -1) for index in lowest_found}
    rows: list[tuple[object, ...]] = []
    for value in sorted({*wanted, results.threshold}):
        used = value == results.threshold
        alarms, hits = int(np.sum(good > value)), int(np.sum(bad > value))
        if used:  # decided in float32, as they were
            alarms = results.counts["false_alarms"]
            hits = len(bad) - results.counts["missed"]
        rates = number(alarms / len(good)), number(hits / len(bad))
        cells = f"{value:.5g}", f"{alarms} of {len(good)}", rates[0], f"{hits} of {len(bad)}"
        rows.append((*cells, rates[1], "in use" if used else ""))
    return rows


def _beside(scores: np.ndarray, score: float, side: int) -> float:
    """The middle between a score and its neighbour above (``side`` 1) or below (-1)."""
    others = scores[side * (scores - score) > 0]
    if not len(others):
        return float(score + side * max(1e-3 * abs(score), 1e-9))
    return float(score + others[np.argmin(np.abs(others - score))]) / 2


def summary_table(results: Sequence[Results]) -> str:
    """A Markdown table with a row for each category and the mean, as ``category: all`` prints."""
    rows = [
        (
            result.category,
            result.counts["good"],
            result.counts["bad"],
            *(number(getattr(result, name)) for name in METRICS),
        )
        for result in results
    ]
    totals = (sum(result.counts[kind] for result in results) for kind in ("good", "bad"))
    means = (f"**{number(value)}**" for value in mean_values(results).values())
    header = ["category", "good", "bad", *METRICS.values()]
    return markdown_table(header, [*rows, ("**mean**", *totals, *means)]) + "\n"


def mean_values(results: Sequence[Results]) -> dict[str, float]:
    """The mean of each metric over the categories in which it has a meaning; else NaN."""
    return {name: mean(getattr(result, name) for result in results) for name in METRICS}


def mean(values: Iterable[float]) -> float:
    """The mean of the values that are not NaN; NaN if there are none."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
