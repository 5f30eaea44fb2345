"""What is said of one picture, and the two files it is written to: JSON lines and CSV."""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TextIO

from ppcls_sspcab.utils.files import records_file
from ppcls_sspcab.utils.program import discard_output
from ppcls_sspcab.utils.table import csv_cell

if TYPE_CHECKING:
    import numpy as np

COLUMNS = ("path", "score", "normalized_score", "threshold", "is_anomaly", "error")

# Exit codes of --fail-on-anomaly.
ANOMALY_FOUND = 3
UNJUDGED = 4

LARGEST = 3.4e38  # of float32, in which the runtimes compute


@dataclass(frozen=True)
class Result:
    """The verdict on one picture.

    Attributes:
        path: the picture's file; ``<bytes>`` or ``<array>`` if it came from memory.
        score: anomaly score, larger is worse, in the unit of the detector's density.
        normalized_score: the score on a scale of 0 to 1 whose 0.5 is the threshold.
        threshold: in the unit of ``score``.
        is_anomaly: ``score > threshold``.
        map: the anomaly map, float32 [H, W] in (0, 1) at the network's size, above 0.5 where a
            pixel is above the pixel threshold; None where the model makes none, or none was asked
            for. No part of the written records, of ``repr``, or of what makes two results equal.
    """

    path: str
    score: float
    normalized_score: float
    threshold: float
    is_anomaly: bool
    map: np.ndarray | None = field(default=None, repr=False, compare=False)

    def to_json(self) -> str:
        """One line of JSON with the attributes' names, the map left out."""
        return _to_json(_values(self))


@dataclass(frozen=True)
class Failure:
    """A picture of which nothing can be said.

    Attributes:
        path: as in :class:`Result`.
        error: the reason.
    """

    path: str
    error: str

    def to_json(self) -> str:
        """One line of JSON: ``{"path": ..., "error": ...}``."""
        return _to_json(_values(self))


@dataclass
class Verdicts:
    """How many pictures were judged good, how many anomalous, and how many could not be judged."""

    good: int = 0
    anomalous: int = 0
    unjudged: int = 0

    def add(self, record: Result | Failure) -> None:
        if isinstance(record, Failure):
            self.unjudged += 1
        elif record.is_anomaly:
            self.anomalous += 1
        else:
            self.good += 1

    def __str__(self) -> str:
        return f"{self.good} good, {self.anomalous} anomalous, {self.unjudged} not judged"


def exit_code(judge_all: Callable[[], Verdicts], fail_on_anomaly: bool) -> int:
    """Judges pictures and gives the exit code of the program that does.

    Args:
        judge_all: judges and writes the records.
        fail_on_anomaly: unless it is asked for, the code is 0.

    Returns:
        3 if an anomaly was found; 4 if none was, but a picture could not be judged, or the reader
        of standard output left before all were; else 0.
    """
    try:
        verdicts = judge_all()
    except BrokenPipeError:
        if not fail_on_anomaly:
            raise
        discard_output()
        return UNJUDGED
    if not fail_on_anomaly:
        return 0
    return ANOMALY_FOUND if verdicts.anomalous else UNJUDGED if verdicts.unjudged else 0


def check_threshold(threshold: float) -> float:
    """Returns the threshold; raises ValueError for one that decides nothing, such as NaN."""
    if not abs(threshold) <= LARGEST:
        raise ValueError(f"the threshold must be a finite number, not {threshold}")
    return threshold


def threshold_option(text: str) -> float:
    """The value of ``--threshold``. Raises ArgumentTypeError as :func:`check_threshold`."""
    try:
        return check_threshold(float(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a finite number, not {text!r}") from None


def judge(
    path: str,
    score: float,
    threshold: float,
    scale: float,
    anomaly_map: np.ndarray | None = None,
) -> Result | Failure:
    """The verdict that a score means.

    Args:
        path: names the picture.
        score: what the network gave.
        threshold: in the unit of ``score``.
        scale: > 0; ``normalized_score = 0.5 + 0.5 * softsign((score - threshold) / scale)``.
        anomaly_map: as :class:`Result` has it.

    Returns:
        a :class:`Failure` for a score that is no number: it must not pass for a good part.
    """
    if not math.isfinite(score):
        return Failure(path, f"the network's score is {score}, not a number to judge by")
    number = normalized(score, threshold, scale)
    return Result(path, score, number, threshold, score > threshold, anomaly_map)


def without_map(record: Result | Failure) -> Result | Failure:
    """The record without its map, whose memory then is free."""
    return replace(record, map=None) if isinstance(record, Result) else record


def normalized(score: Any, threshold: Any, scale: Any) -> Any:
    """The score on the scale of 0 to 1 whose 0.5 is the threshold.

    ``0.5 + 0.5 * softsign((score - threshold) / scale)``, for numbers, arrays and tensors alike.
    """
    deviation = (score - threshold) / scale
    return 0.5 + 0.5 * deviation / (1.0 + abs(deviation))


@contextmanager
def opened(output: str | os.PathLike[str] | None) -> Iterator[TextIO]:
    """The stream for records: a :func:`~ppcls_sspcab.utils.files.records_file`, or standard output.

    Args:
        output: the file's path; None for standard output.

    Raises:
        OutputError: the file cannot be written.
    """
    if output is None:
        yield sys.stdout
        return
    with records_file(output) as stream:
        yield stream


def write_records(
    records: Iterable[Result | Failure], stream: TextIO, form: Literal["jsonl", "csv"] = "jsonl"
) -> Iterator[Result | Failure]:
    """Writes each record as it comes, and hands it on to the caller, who must use them up.

    Args:
        records: results and failures, in the order to be written.
        stream: a text stream, flushed after each record.
        form: ``jsonl``: one JSON object a line; ``csv``: the columns of ``COLUMNS``, where what a
            record lacks is empty, ``is_anomaly`` is ``true`` or ``false``, and texts are as
            :func:`ppcls_sspcab.utils.table.csv_cell` writes them.
    """
    table = csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\n")
    if form == "csv":
        table.writeheader()
    for record in records:
        if form == "csv":
            row = _values(record)
            if isinstance(record, Result):
                row["is_anomaly"] = str(record.is_anomaly).lower()
            table.writerow({name: csv_cell(value) for name, value in row.items()})
        else:
            stream.write(record.to_json() + "\n")
        stream.flush()
        yield record


def _values(record: Any) -> dict[str, Any]:
    """What is written of a record: all its fields but the map."""
    return {item.name: getattr(record, item.name) for item in fields(record) if item.name != "map"}


def _to_json(values: dict[str, object]) -> str:
    text = json.dumps(values, ensure_ascii=False, allow_nan=False)
    # In ASCII where a name holds what is no text, or what drives a terminal.
    return text if text.isprintable() else json.dumps(values, allow_nan=False)
