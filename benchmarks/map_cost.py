"""What the anomaly map costs: two exports of one network, batch 1, in both runtimes.

``python benchmarks/map_cost.py --with DIR --without DIR --output docs/results/map_cost.md`` takes a
folder that was exported with a map and one without, made by ``-o Localize=null -o
Score={name: embedding}`` from the same checkpoint.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import in_turns, parser, publish, ratio, verdict
from ppcls_sspcab.runtime.predictor import Predictor
from ppcls_sspcab.utils.launcher import launch
from ppcls_sspcab.utils.table import markdown_table

TARGET = 1.4
RUNS = 10


def runner(folder: str, backend: str) -> tuple[Predictor, Callable[[], float]]:
    """A predictor, and a function that gives its milliseconds for one picture."""
    predictor = Predictor(folder, backend)
    height, width = predictor.card.preprocess.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    images = predictor.prepare(pixels)

    def run() -> float:
        started = time.perf_counter()
        for _ in range(RUNS):
            predictor.network.run(images)
        return (time.perf_counter() - started) / RUNS * 1000

    return predictor, run


def main() -> int:
    """Measures and writes the table."""
    options = parser(__doc__)
    options.add_argument("--with", dest="mapped", required=True, metavar="DIR")
    options.add_argument("--without", dest="plain", required=True, metavar="DIR")
    given = options.parse_args()
    launch()
    rows = []
    for backend in ("paddle", "onnx"):
        mapped, run_mapped = runner(given.mapped, backend)
        plain, run_plain = runner(given.plain, backend)
        found = in_turns({"plain": run_plain, "mapped": run_mapped}, given.rounds)
        times = ratio(found["mapped"], found["plain"])
        for predictor, name in ((plain, "plain"), (mapped, "mapped")):
            score = predictor.card.detector["score"]["name"]
            kind = (predictor.card.detector["localize"] or {"name": "none"})["name"]
            relative = f"{times:.2f}x" if name == "mapped" else "1"
            met = verdict(times, TARGET, lower_is_better=True) if name == "mapped" else ""
            milliseconds = f"{np.median(found[name]):.1f}"
            rows.append([backend, score, kind, milliseconds, relative, met])
    header = ["runtime", "image score", "map", "ms", "times", f"at most {TARGET}x"]
    publish("The cost of the map", [markdown_table(header, rows)], given.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
