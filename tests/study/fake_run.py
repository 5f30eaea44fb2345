"""Stands in for a benchmark's run: writes made-up results at once, or fails, hangs or dies.

What it does depends on the category: ``broken`` fails the first time, ``killed`` kills itself, and
the untrained run of ``slow`` waits the first time until it is interrupted. It imports little, to
start quickly.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

from ppcls_sspcab.study.run import write_state


def scores(name: str, seed: int, count: int = 12) -> tuple[list[int], list[float]]:
    """Labels and scores of one run, which follow from its arguments."""
    rng = random.Random(f"{name} {seed}")
    labels = [index % 2 for index in range(count)]
    return labels, [rng.gauss(label, 1) for label in labels]


def auroc(labels: list[int], values: list[float]) -> float:
    bad = [value for label, value in zip(labels, values, strict=True) if label]
    good = [value for label, value in zip(labels, values, strict=True) if not label]
    return sum(one > other for one in bad for other in good) / (len(bad) * len(good))


def run(folder: Path) -> int:
    text = (folder / "run.yaml").read_text()
    found = dict(
        re.findall(r"^  (category|seed|device|epochs|eval_during_train): (\S+)$", text, re.M)
    )
    category, seed = folder.name, int(found["seed"])
    with (folder / "starts.txt").open("a") as file:
        file.write(f"{os.getpid()} {found['device']}\n")
    first = len((folder / "starts.txt").read_text().splitlines()) == 1
    if category == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if category == "broken" and first:
        write_state(folder, state="failed", error="no pictures there", finished=time.time())
        return 1
    if category == "slow" and first and found["epochs"] == "0":
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            (folder / "waiting").touch()
            time.sleep(60)
        except KeyboardInterrupt:
            write_state(folder, state="interrupted", finished=time.time(), seconds=1.0)
            return 130
    time.sleep(0.05)
    labels, values = scores(folder.parents[1].name, seed)
    lines = ["path,label,defect,score,normalized_score,is_anomaly"]
    for index, (label, value) in enumerate(zip(labels, values, strict=True)):
        lines.append(f"p{index},{label},x,{value},0,False")
    (folder / "results.csv").write_text("\n".join(lines) + "\n")
    results = {
        "category": category,
        "image_auroc": auroc(labels, values),
        "image_aupr": 0.5,
        "false_alarm_rate": 0.25,
        "counts": {"good": 4, "false_alarms": 1},
        "protocol": {"category": category, "seed": seed, "note": "<b>bold</b>"},
    }
    (folder / "results.json").write_text(json.dumps(results))
    if found["eval_during_train"] == "true":
        (folder / "diagnosis.json").write_text(json.dumps({"best_image_auroc": 0.5 + seed / 4}))
    write_state(
        folder,
        state="done",
        error=None,
        finished=time.time(),
        seconds=2.0 + seed,
        peak_memory_mb=100.0 + seed,
        peak_gpu_memory_mb=None,
    )
    return 0


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1])))
