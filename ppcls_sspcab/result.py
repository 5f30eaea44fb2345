"""What is said of one picture, and the two files it is written to: JSON lines and CSV."""

from __future__ import annotations

import csv
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal, TextIO

from ppcls_sspcab.utils.files import atomic_path

COLUMNS = ("path", "score", "normalized_score", "threshold", "is_anomaly", "error")


@dataclass(frozen=True)
class Result:
    """The verdict on one picture.

    Attributes:
        path: the picture's file; ``<bytes>`` or ``<array>`` if it came from memory.
        score: anomaly score, larger is worse, in the unit of the detector's density.
        normalized_score: the score on a scale of 0 to 1 whose 0.5 is the threshold.
        threshold: in the unit of ``score``.
        is_anomaly: ``score > threshold``.
    """

    path: str
    score: float
    normalized_score: float
    threshold: float
    is_anomaly: bool

    def to_json(self) -> str:
        """One line of JSON with the attributes' names."""
        return _to_json(asdict(self))


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
        return _to_json(asdict(self))


def judge(path: str, score: float, threshold: float, scale: float) -> Result | Failure:
    """The verdict that a score means.

    Args:
        path: names the picture.
        score: what the network gave.
        threshold: in the unit of ``score``.
        scale: > 0; ``normalized_score = 0.5 + 0.5 * softsign((score - threshold) / scale)``.

    Returns:
        a :class:`Failure` for a score that is no number: it must not pass for a good part.
    """
    if not math.isfinite(score):
        return Failure(path, f"the network's score is {score}, not a number to judge by")
    return Result(path, score, normalized(score, threshold, scale), threshold, score > threshold)


def normalized(score: Any, threshold: Any, scale: Any) -> Any:
    """The score on the scale of 0 to 1 whose 0.5 is the threshold.

    ``0.5 + 0.5 * softsign((score - threshold) / scale)``, for numbers, arrays and tensors alike.
    """
    deviation = (score - threshold) / scale
    return 0.5 + 0.5 * deviation / (1.0 + abs(deviation))


@contextmanager
def opened(output: str | os.PathLike[str] | None) -> Iterator[TextIO]:
    """The stream for records: a file that appears whole when the block ends, or standard output.

    Args:
        output: the file's path; None for standard output.
    """
    if output is None:
        yield sys.stdout
        return
    with (
        atomic_path(output) as temporary,
        # Names of files need not be text: surrogateescape writes their bytes as they are.
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        yield stream


def write_records(
    records: Iterable[Result | Failure], stream: TextIO, form: Literal["jsonl", "csv"] = "jsonl"
) -> Iterator[Result | Failure]:
    """Writes each record as it comes, and hands it on to the caller, who must use them up.

    Args:
        records: results and failures, in the order to be written.
        stream: a text stream, flushed after each record.
        form: ``jsonl``: one JSON object a line; ``csv``: the columns of ``COLUMNS``, where what a
            record lacks is empty and ``is_anomaly`` is ``true`` or ``false``.
    """
    table = csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\n")
    if form == "csv":
        table.writeheader()
    for record in records:
        if form == "csv":
            row = asdict(record)
            if isinstance(record, Result):
                row["is_anomaly"] = str(record.is_anomaly).lower()
            table.writerow(row)
        else:
            stream.write(record.to_json() + "\n")
        stream.flush()
        yield record


def _to_json(values: dict[str, object]) -> str:
    text = json.dumps(values, ensure_ascii=False, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(values, allow_nan=False)
    return text
