"""The tables of a benchmark: what its runs found, by configuration and category."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppcls_sspcab.evaluation.results import interval, markdown_table, number
from ppcls_sspcab.metric.image import bootstrap_values, image_auroc, quantiles
from ppcls_sspcab.study.plan import Run
from ppcls_sspcab.study.run import DONE, FAILED, read_state
from ppcls_sspcab.utils.files import atomic_write

MEAN = "mean"
COLUMNS = (
    "configuration",
    "category",
    "runs",
    "image AUROC",
    "95 % interval",
    "image AUPR",
    "false alarms",
    "pixel AUROC",
    "AUPRO",
    "seconds",
    "memory, MiB",
    "GPU, MiB",
)
DIAGNOSIS_TITLE = "best on test (not a result)"
DIAGNOSIS_NOTE = (
    "The column 'best on test' is picked on the test set: not a result. It is the mean over the "
    "seeds of the largest image AUROC on the test pictures at any evaluation while training, which "
    "is what picking the checkpoint there would have claimed. Nothing else ever sees it."
)
NOTE = (
    "Image AUROC is the mean over the seeds ± their standard deviation (n - 1). The interval holds "
    "95 % of the means over the seeds when the test pictures are resampled, good and bad apart. "
    "False alarms are counted at each detector's own threshold, over all seeds. Seconds and memory "
    "are of whole runs, training, fitting and evaluation: the mean over the seeds, and the largest."
)


@dataclasses.dataclass(frozen=True)
class Row:
    """What one configuration reaches in a category, or in the mean of all; NaN where unknown.

    Attributes:
        done: number of seeds (of the mean: of categories) with results.
        planned: how many there are to be.
        image_auroc_std: over the seeds; NaN for one seed.
        interval: 95 %, of ``image_auroc``.
        false_alarms, good: counts over all seeds; ``false_alarm_rate`` is the mean of the rates.
        seconds: of one run.
        peak_memory_mb, peak_gpu_memory_mb: MiB, the largest.
        best_on_test: a diagnosis, no result: see ``DIAGNOSIS_NOTE``.
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


def write_tables(runs: Sequence[Run], output: Path, diagnose: bool) -> list[Path]:
    """Writes ``benchmark.{csv,json,md,html}`` of what is done so far and returns their paths."""
    from ppcls_sspcab.study.page import page

    means, rows = collect(runs)
    protocols = _protocols(runs)
    texts = {
        "csv": _csv(means + rows, diagnose),
        "json": _json(means, rows, protocols, diagnose),
        "md": to_markdown(means, rows, diagnose),
        "html": page(means, rows, protocols, diagnose),
    }
    paths = [output / f"benchmark.{kind}" for kind in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        atomic_write(path, text)
    return paths


def collect(runs: Sequence[Run]) -> tuple[list[Row], list[Row]]:
    """The rows of the means over the categories, and those of the categories."""
    titles = list(dict.fromkeys(run.recipe.title for run in runs))
    categories = list(dict.fromkeys(run.category for run in runs))
    means, rows = [], []
    for title in titles:
        found = [
            _row([run for run in runs if (run.recipe.title, run.category) == (title, category)])
            for category in categories
        ]
        rows += [row for row, _, _ in found]
        means.append(_mean_row(title, found))
    rows.sort(key=lambda row: categories.index(row.category))  # stable: recipes keep their order
    return means, rows


def to_markdown(means: Sequence[Row], rows: Sequence[Row], diagnose: bool) -> str:
    """The tables of ``benchmark.md``."""
    notes = [NOTE, DIAGNOSIS_NOTE] if diagnose else [NOTE]
    failures = [f"* {row.config}, {row.category}: {text}" for row in rows for text in row.errors]
    of_means, of_rows = tables([means, rows], diagnose)
    blocks = [
        "# Benchmark",
        _unfinished(rows),
        "## Means over the categories",
        markdown_table(*of_means),
        "## Categories",
        markdown_table(*of_rows),
        "## Failed runs\n\n" + "\n".join(failures) if failures else "",
        *notes,
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def tables(
    parts: Sequence[Sequence[Row]], diagnose: bool, without: str = ""
) -> list[tuple[list[str], list[list[str]]]]:
    """Header and cells of several tables with the same columns.

    Args:
        parts: the rows of each table.
        diagnose: whether to show the column picked on the test set.
        without: a column to leave out; those of which nothing is known are left out, too.
    """
    texts = [[_cells(row, diagnose) for row in rows] for rows in parts]
    columns = [*COLUMNS, DIAGNOSIS_TITLE] if diagnose else list(COLUMNS)
    shown = [
        index
        for index, column in enumerate(columns)
        if column != without and any(row[index] != "–" for rows in texts for row in rows)
    ]
    header = [columns[index] for index in shown]
    return [(header, [[row[index] for index in shown] for row in rows]) for rows in texts]


def _cells(row: Row, diagnose: bool) -> list[str]:
    """A row's texts, as ``COLUMNS`` has them; dashes where something is unknown."""
    auroc = number(row.image_auroc)
    if not math.isnan(row.image_auroc_std):
        auroc += f" ± {row.image_auroc_std:.3f}"
    alarms = number(row.false_alarm_rate)
    if row.good:
        alarms += f" ({row.false_alarms} of {row.good})"
    texts = [
        row.config,
        row.category,
        f"{row.done} of {row.planned}" + (" (failed)" if row.errors else ""),
        auroc,
        interval(row.interval),
        number(row.image_aupr),
        alarms,
        number(row.pixel_auroc),
        number(row.aupro),
        _whole(row.seconds),
        _whole(row.peak_memory_mb),
        _whole(row.peak_gpu_memory_mb),
    ]
    return [*texts, number(row.best_on_test)] if diagnose else texts


def _unfinished(rows: Sequence[Row]) -> str:
    missing = sum(row.planned - row.done for row in rows)
    return f"**{missing} of {sum(row.planned for row in rows)} runs have no result.**" * bool(
        missing
    )


def _whole(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.0f}"


Found = tuple[Row, dict[int, float], np.ndarray | None]


def _row(runs: Sequence[Run]) -> Found:
    """A category's row, its image AUROC by seed, and the resampled means over its seeds [B]."""
    done = [run for run in runs if read_state(run.folder).get("state") == DONE]
    states = [read_state(run.folder) for run in done]
    results = [json.loads((run.folder / "results.json").read_text("utf-8")) for run in done]
    by_seed = {
        run.seed: _value(result, "image_auroc") for run, result in zip(done, results, strict=True)
    }
    values = list(by_seed.values())
    draws = _resampled([run.folder / "results.csv" for run in done]) if done else None
    row = Row(
        config=runs[0].recipe.title,
        category=runs[0].category,
        done=len(done),
        planned=len(runs),
        image_auroc=_mean(values),
        image_auroc_std=_std(values),
        interval=quantiles(draws) if draws is not None else (math.nan, math.nan),
        image_aupr=_mean(_value(result, "image_aupr") for result in results),
        false_alarm_rate=_mean(_value(result, "false_alarm_rate") for result in results),
        false_alarms=sum(result["counts"]["false_alarms"] for result in results),
        good=sum(result["counts"]["good"] for result in results),
        pixel_auroc=_mean(_value(result, "pixel_auroc") for result in results),
        aupro=_mean(_value(result, "aupro") for result in results),
        seconds=_mean(_value(state, "seconds") for state in states),
        peak_memory_mb=_largest(_value(state, "peak_memory_mb") for state in states),
        peak_gpu_memory_mb=_largest(_value(state, "peak_gpu_memory_mb") for state in states),
        best_on_test=_mean(_best_on_test(run) for run in done),
        errors=tuple(_errors(runs)),
    )
    return row, by_seed, draws


def _mean_row(title: str, found: Sequence[Found]) -> Row:
    """The mean over the categories that have results."""
    rows = [row for row, _, _ in found if row.done]
    seeds = [by_seed for _, by_seed, _ in found if by_seed]
    # Only seeds that every category has: else their spread would be that of the categories.
    common = set.intersection(*(set(by_seed) for by_seed in seeds)) if seeds else set()
    draws = [values for _, _, values in found if values is not None]

    def mean(read: Callable[[Row], float]) -> float:
        return _mean(map(read, rows))

    return Row(
        config=title,
        category=MEAN,
        done=len(rows),
        planned=len(found),
        image_auroc=mean(lambda row: row.image_auroc),
        image_auroc_std=_std(
            [_mean(by_seed[seed] for by_seed in seeds) for seed in sorted(common)]
        ),
        interval=quantiles(np.mean(draws, axis=0)) if draws else (math.nan, math.nan),
        image_aupr=mean(lambda row: row.image_aupr),
        false_alarm_rate=mean(lambda row: row.false_alarm_rate),
        false_alarms=sum(row.false_alarms for row in rows),
        good=sum(row.good for row in rows),
        pixel_auroc=mean(lambda row: row.pixel_auroc),
        aupro=mean(lambda row: row.aupro),
        seconds=mean(lambda row: row.seconds),
        peak_memory_mb=_largest(row.peak_memory_mb for row in rows),
        peak_gpu_memory_mb=_largest(row.peak_gpu_memory_mb for row in rows),
        best_on_test=mean(lambda row: row.best_on_test),
        errors=tuple(text for row, _, _ in found for text in row.errors),
    )


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


def _best_on_test(run: Run) -> float:
    try:
        text = (run.folder / "diagnosis.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return math.nan
    return float(json.loads(text)["best_image_auroc"])


def _errors(runs: Sequence[Run]) -> Iterable[str]:
    for run in runs:
        state = read_state(run.folder)
        if state.get("state") == FAILED:
            yield f"seed {run.seed}: {state['error']}"


def _value(found: dict[str, Any], name: str) -> float:
    value = found.get(name)
    return math.nan if value is None else float(value)


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def _std(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return statistics.stdev(known) if len(known) > 1 else math.nan


def _largest(values: Iterable[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=math.nan)


def _protocols(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Of each configuration, what the first finished run says of how it came about."""
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        path = run.folder / "results.json"
        if run.recipe.title not in found and read_state(run.folder).get("state") == DONE:
            protocol = json.loads(path.read_text(encoding="utf-8"))["protocol"]
            for name in ("category", "seed", "training_seconds"):
                protocol.pop(name, None)
            found[run.recipe.title] = protocol
    return found


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


def _csv(rows: Sequence[Row], diagnose: bool) -> str:
    table = io.StringIO(newline="")
    plain = [_plain(row, diagnose) for row in rows]
    writer = csv.DictWriter(table, list(plain[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain)
    return table.getvalue()


def _json(
    means: Sequence[Row],
    rows: Sequence[Row],
    protocols: dict[str, dict[str, Any]],
    diagnose: bool,
) -> str:
    found = {
        "notes": [NOTE, DIAGNOSIS_NOTE] if diagnose else [NOTE],
        "means": [_plain(row, diagnose) for row in means],
        "rows": [_plain(row, diagnose) for row in rows],
        "protocols": protocols,
    }
    return json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
