"""What the runs of a study found, by configuration and category."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppcls_sspcab.evaluation.tables import mean
from ppcls_sspcab.metric.image import bootstrap_values, image_auroc, quantiles
from ppcls_sspcab.study.plan import Run
from ppcls_sspcab.study.state import FAILED, is_done, read_state

MEAN = "mean"
# How the figures of several runs, or those of several categories, become one.
MEANS = (
    "image_auroc",
    "image_aupr",
    "detection_rate",
    "false_alarm_rate",
    "pixel_auroc",
    "aupro",
    "seconds",
    "best_on_test",
)
SUMS = ("missed", "bad", "false_alarms", "good")
LARGEST = ("peak_memory_mb", "peak_gpu_memory_mb")


@dataclasses.dataclass(frozen=True)
class Row:
    """What one configuration reaches in a category, or in the mean of all; NaN where unknown.

    Attributes:
        done: number of seeds (of the mean: of categories) with results.
        planned: how many there are to be.
        image_auroc_std: over the seeds; NaN for one seed.
        interval: 95 %, of ``image_auroc``.
        missed, bad: counts over all seeds; ``detection_rate`` is the mean of the rates.
        false_alarms, good: likewise, of ``false_alarm_rate``.
        seconds: of one run.
        peak_memory_mb, peak_gpu_memory_mb: MiB, the largest.
        best_on_test: a diagnosis, no result: the largest AUROC on the test pictures while training.
        errors: one line for each run that failed.
    """

    config: str
    category: str
    done: int
    planned: int
    image_auroc: float
    image_auroc_std: float
    interval: tuple[float, float]
    image_aupr: float
    detection_rate: float
    missed: int
    bad: int
    false_alarm_rate: float
    false_alarms: int
    good: int
    pixel_auroc: float
    aupro: float
    seconds: float
    peak_memory_mb: float
    peak_gpu_memory_mb: float
    best_on_test: float
    errors: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Findings:
    """All rows of a study.

    Attributes:
        means: of each configuration over the categories.
        rows: by category, in each the configurations in their order.
        protocols: of each configuration, what its first finished run says of how it came about.
    """

    means: list[Row]
    rows: list[Row]
    protocols: dict[str, dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class _Cell:
    """A configuration in a category.

    Attributes:
        by_seed: the image AUROC of each seed with results.
        draws: float [B], the mean over the seeds in each resampling of the test pictures; None
            without results.
    """

    row: Row
    by_seed: dict[int, float]
    draws: np.ndarray | None


def collect(runs: Sequence[Run]) -> Findings:
    """Reads what is done so far."""
    titles = list(dict.fromkeys(run.recipe.title for run in runs))
    categories = list(dict.fromkeys(run.category for run in runs))
    means, rows = [], []
    for title in titles:
        cells = [
            _cell([run for run in runs if (run.recipe.title, run.category) == (title, category)])
            for category in categories
        ]
        rows += [cell.row for cell in cells]
        means.append(_mean_row(title, cells))
    rows.sort(key=lambda row: categories.index(row.category))  # stable: recipes keep their order
    return Findings(means, rows, _protocols(runs))


def _cell(runs: Sequence[Run]) -> _Cell:
    done = [run for run in runs if is_done(run.folder)]
    figures = [_figures(run) for run in done]
    by_seed = {run.seed: found["image_auroc"] for run, found in zip(done, figures, strict=True)}
    draws = _resampled([run.folder.results_csv for run in done]) if done else None
    row = Row(
        config=runs[0].recipe.title,
        category=runs[0].category,
        done=len(done),
        planned=len(runs),
        image_auroc_std=_std(list(by_seed.values())),
        interval=quantiles(draws) if draws is not None else (math.nan, math.nan),
        errors=tuple(_errors(runs)),
        **_combined(figures),
    )
    return _Cell(row, by_seed, draws)


def _mean_row(title: str, cells: Sequence[_Cell]) -> Row:
    """The mean over the categories that have results."""
    found = [cell for cell in cells if cell.row.done]
    # Only seeds that every category has: else their spread would be that of the categories.
    seeds = set.intersection(*(set(cell.by_seed) for cell in found)) if found else set()
    draws = [cell.draws for cell in found if cell.draws is not None]
    return Row(
        config=title,
        category=MEAN,
        done=len(found),
        planned=len(cells),
        image_auroc_std=_std(
            [mean(cell.by_seed[seed] for cell in found) for seed in sorted(seeds)]
        ),
        interval=quantiles(np.mean(draws, axis=0)) if draws else (math.nan, math.nan),
        errors=tuple(text for cell in cells for text in cell.row.errors),
        **_combined([vars(cell.row) for cell in found]),
    )


def _figures(run: Run) -> dict[str, Any]:
    """The figures of one finished run, as ``MEANS``, ``SUMS`` and ``LARGEST`` name them."""
    results = json.loads(run.folder.results_json.read_text(encoding="utf-8"))
    found = {**results, **results["counts"], **read_state(run.folder)}
    try:
        text = run.folder.diagnosis.read_text(encoding="utf-8")
        found["best_on_test"] = json.loads(text)["best_image_auroc"]
    except FileNotFoundError:
        pass
    known = {name: found.get(name) for name in (*MEANS, *SUMS, *LARGEST)}
    return {name: math.nan if value is None else value for name, value in known.items()}


def _combined(figures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        **{name: mean(found[name] for found in figures) for name in MEANS},
        **{name: sum(found[name] for found in figures) for name in SUMS},
        **{name: _largest(found[name] for found in figures) for name in LARGEST},
    }


def _resampled(tables: Sequence[Path]) -> np.ndarray:
    """Means over seeds of the image AUROC [B], each of one resampling of the test pictures."""
    scores: list[dict[str, float]] = []
    labels: dict[str, int] = {}
    for path in tables:
        with path.open(encoding="utf-8", newline="") as file:
            table = list(csv.DictReader(file))
        scores.append({row["path"]: float(row["score"]) for row in table})
        labels = {row["path"]: int(row["label"]) for row in table}
    # A picture that one run had to skip is left out for all.
    paths = sorted(set.intersection(*(set(of_seed) for of_seed in scores)))
    kinds = np.array([labels[path] for path in paths])
    by_seed = np.array([[of_seed[path] for path in paths] for of_seed in scores])

    def mean_auroc(bad: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        pictures = drawn.astype(np.int64)
        return np.mean([image_auroc(bad, of_seed[pictures]) for of_seed in by_seed], axis=0)

    # Categories must be drawn independently of each other; the pictures' names tell them apart.
    seed = sum(map(ord, "".join(paths)))
    return bootstrap_values(mean_auroc, kinds, np.arange(len(paths)), seed)


def _errors(runs: Sequence[Run]) -> Iterable[str]:
    for run in runs:
        state = read_state(run.folder)
        if state.get("state") == FAILED:
            yield f"seed {run.seed}: {state['error']}"


def _protocols(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        if run.recipe.title not in found and is_done(run.folder):
            text = run.folder.results_json.read_text(encoding="utf-8")
            protocol = json.loads(text)["protocol"]
            for name in ("category", "seed", "training_seconds"):
                protocol.pop(name, None)
            found[run.recipe.title] = protocol
    return found


def _std(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return statistics.stdev(known) if len(known) > 1 else math.nan


def _largest(values: Iterable[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=math.nan)
