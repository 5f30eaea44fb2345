"""Compares losses and scores with stored ones, or with those of another program.

``python test_tipc/compare_results.py --gt_file=GROUND_TRUTH --log_file=FILE [--log_file=...]``

A ``.log`` is a training log; ``.jsonl`` and ``.csv`` hold one record a picture. The ground truth is
one of these too, or a ``.json`` that ``--store`` wrote, which states its own tolerances. Exit code
0: all within the tolerance, 1: not, 2: a file that cannot be read.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import glob
import importlib.metadata
import json
import math
import platform
import posixpath
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from extract_loss import extract

from ppcls_sspcab.errors import UserError
from ppcls_sspcab.utils.files import write_json
from ppcls_sspcab.utils.program import run_program

# Of a run stored on another machine: thread counts and instruction sets moved losses by 4e-4 and
# scores by 2e-4.
RTOL = {"losses": 1e-2, "scores": 1e-2}
PACKAGES = ("paddlepaddle", "numpy", "scikit-learn", "pillow")


def read(path: Path) -> dict[str, dict[str, float]]:
    """``{"losses": {"line 1": value, ...}}`` or ``{"scores": {picture: value, ...}}``, or both.

    A picture's name is its path without the leading ``../``.

    Raises:
        UserError: a file that is missing, damaged or of another kind, or a picture that could not
            be scored.
    """
    try:
        return _read(path)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: cannot be read: {error!r}") from error


def _read(path: Path) -> dict[str, dict[str, float]]:
    if path.suffix == ".json":
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {kind: stored[kind] for kind in RTOL if kind in stored}
    if path.suffix == ".log":
        values = enumerate(extract(path), 1)
        return {"losses": {f"line {number}": value for number, value in values}}
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            records = [json.loads(line) for line in file]
        elif path.suffix == ".csv":
            records = list(csv.DictReader(file))
        else:
            raise UserError(f"{path}: must be .json, .log, .jsonl or .csv")
    broken = [record["path"] for record in records if record.get("score") in (None, "")]
    if broken:
        raise UserError(f"{path}: no score for {', '.join(broken)}")
    return {"scores": {_picture(record["path"]): float(record["score"]) for record in records}}


def differences(truth: dict[str, float], found: dict[str, float], every: bool) -> tuple[float, str]:
    """The worst relative difference and where it is; infinite where a value is missing.

    Args:
        truth, found: values by name.
        every: ``found`` must hold every name of ``truth``.
    """
    missing = [*(found.keys() - truth.keys()), *(truth.keys() - found.keys() if every else ())]
    if missing or not found:
        return math.inf, f"{', '.join(sorted(missing)) or 'everything'} on one side only"
    relative = {
        name: abs(value - truth[name]) / max(abs(truth[name]), 1e-12)
        for name, value in found.items()
    }
    worst = max(relative, key=lambda name: relative[name] if relative[name] >= 0 else math.inf)
    return relative[worst], worst


def compare(truth_path: Path, paths: list[Path], rtol: float | None) -> bool:
    """Prints one line a file; returns whether all lie within the tolerance."""
    truth = read(truth_path)
    tolerances = dict(RTOL)
    if truth_path.suffix == ".json":
        tolerances = json.loads(truth_path.read_text(encoding="utf-8"))["rtol"]
    equal = True
    for path in paths:
        for kind, found in read(path).items():
            tolerance = tolerances[kind] if rtol is None else rtol
            worst, where = differences(
                truth.get(kind, {}), found, every=truth_path.suffix in (".json", ".log")
            )
            within = worst <= tolerance
            equal &= within
            print(
                f"{'equal' if within else 'DIFFERENT'}: {path}: {len(found)} {kind}, "
                f"worst relative difference {worst:.1e} ({where}), tolerance {tolerance:g}"
            )
    return equal


def store(path: Path, sources: list[Path], rtol: float | None) -> None:
    """Writes the first file of losses and the first of scores, with date and versions."""
    values: dict[str, dict[str, float]] = {}
    for source in sources:
        values = {**read(source), **values}
    about: dict[str, Any] = {
        "recorded": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {platform.system()}",
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "rtol": {kind: RTOL[kind] if rtol is None else rtol for kind in values},
    }
    write_json(path, {**about, **values})
    print(f"stored in {path}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare losses and scores.")
    parser.add_argument("--gt_file", required=True, type=Path, help="the ground truth")
    parser.add_argument("--log_file", required=True, action="append", help="a file, or a pattern")
    parser.add_argument("--rtol", type=float, help="relative; default: as stored, else 1e-2")
    parser.add_argument("--store", action="store_true", help="write the ground truth instead")
    options = parser.parse_args()
    paths = []
    for pattern in options.log_file:
        paths += [Path(name) for name in sorted(glob.glob(pattern))] or [Path(pattern)]
    if options.store:
        store(options.gt_file, paths, options.rtol)
        return 0
    return 0 if compare(options.gt_file, paths, options.rtol) else 1


def _picture(path: str) -> str:
    name = posixpath.normpath(path)
    while name.startswith("../"):
        name = name[3:]
    return name


if __name__ == "__main__":
    sys.exit(run_program(main))
