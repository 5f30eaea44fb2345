"""Stands in for what a study's run trains: writes made-up results at once, fails, hangs or dies.

What it does depends on the category: ``broken`` fails the first time, ``killed`` kills itself, and
the untrained run of ``slow`` waits the first time until it is interrupted. All else, the lock, the
states and the exit codes, is the real run's. It imports little, to start quickly.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from ppcls_sspcab.errors import DataError
from ppcls_sspcab.paths import StudyRunFolder
from ppcls_sspcab.study import run
from ppcls_sspcab.utils.program import run_program


def scores(name: str, seed: int, count: int = 12) -> tuple[list[int], list[float]]:
    """Labels and scores of one run, which follow from its arguments."""
    rng = random.Random(f"{name} {seed}")
    labels = [index % 2 for index in range(count)]
    return labels, [rng.gauss(label, 1) for label in labels]


def auroc(labels: list[int], values: list[float]) -> float:
    bad = [value for label, value in zip(labels, values, strict=True) if label]
    good = [value for label, value in zip(labels, values, strict=True) if not label]
    return sum(one > other for one in bad for other in good) / (len(bad) * len(good))


def train_and_evaluate(folder: StudyRunFolder) -> None:
    text = folder.run_config.read_text()
    found = dict(
        re.findall(r"^  (category|seed|device|epochs|eval_during_train): (\S+)$", text, re.M)
    )
    category, seed = folder.root.name, int(found["seed"])
    starts = folder.root / "starts.txt"
    with starts.open("a") as file:
        file.write(f"{os.getpid()} {found['device']}\n")
    first = len(starts.read_text().splitlines()) == 1
    if category == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if category == "broken" and first:
        raise DataError("no pictures there")
    if category == "slow" and first and found["epochs"] == "0":
        (folder.root / "waiting").touch()
        time.sleep(60)
    time.sleep(0.05)
    write_results(folder, category, seed)
    if found["eval_during_train"] == "true":
        folder.diagnosis.write_text(json.dumps({"best_image_auroc": 0.5 + seed / 4}))
    run.time = SimpleNamespace(time=time.time, perf_counter=lambda: 2.0 + seed)
    run.peak_memory_mib = lambda: 100.0 + seed


def write_results(folder: StudyRunFolder, category: str, seed: int) -> None:
    labels, values = scores(folder.root.parents[1].name, seed)
    lines = ["path,label,defect,score,normalized_score,is_anomaly"]
    for index, (label, value) in enumerate(zip(labels, values, strict=True)):
        lines.append(f"p{index},{label},x,{value},0,False")
    folder.results_csv.write_text("\n".join(lines) + "\n")
    results = {
        "category": category,
        "image_auroc": auroc(labels, values),
        "image_aupr": 0.5,
        "detection_rate": 0.75,
        "false_alarm_rate": 0.25,
        "counts": {"good": 4, "bad": 4, "false_alarms": 1, "missed": 1},
        "protocol": {"category": category, "seed": seed, "note": "<b>bold</b>"},
    }
    folder.results_json.write_text(json.dumps(results))


if __name__ == "__main__":
    run._train_and_evaluate = train_and_evaluate
    run.time = SimpleNamespace(time=time.time, perf_counter=lambda: 0.0)
    sys.exit(run_program(partial(run.main, Path(sys.argv[1]))))
