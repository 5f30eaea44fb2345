"""Image AUROC and false alarms of detectors that are made of a few good pictures.

``python benchmarks/few_pictures.py -c configs/fast.yaml --data ROOT --categories tire,bottle -o
Arch.pretrained=FILE --work DIR --output FILE.md`` draws 5, 10, 20 and 50 good pictures of each
category (MVTec AD's folders) for seeds 0, 1, 2, trains, fits and calibrates as the YAML says, and
judges all test pictures. The pictures of one seed contain each other, so rows differ by what is
added. A detector that is done is not made again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import publish
from ppcls_sspcab.utils.launcher import launch
from ppcls_sspcab.utils.table import markdown_table, mean_and_spread

HEADER = (
    "good pictures",
    "held out",
    "image AUROC",
    "detections",
    "false alarms",
    "rate kept on the average",
    "plausible rate",
)


def main() -> int:
    """Makes the detectors that are not there yet, and writes the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--output", help="Markdown file; what is printed is written there too")
    options.add_argument("-c", "--config", required=True)
    options.add_argument("-o", "--override", action="append", default=[])
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--categories", required=True, help="names between commas")
    options.add_argument("--counts", default="5,10,20,50", help="good pictures")
    options.add_argument("--seeds", type=int, default=3, help="0 to N - 1")
    options.add_argument("--work", type=Path, required=True, help="folder of the detectors")
    given = options.parse_args()
    launch()
    parts = []
    for category in given.categories.split(","):
        rows = []
        for count in map(int, given.counts.split(",")):
            runs = [_results(given, category, count, seed) for seed in range(given.seeds)]
            rows.append([count, *_cells(runs)])
        parts += [f"## {category}", markdown_table(HEADER, rows)]
    name = Path(given.config).name
    title = f"A few good pictures: {name}, seeds 0 to {given.seeds - 1}"
    publish(title, parts, given.output, how="Mean ± standard deviation over the seeds.")
    return 0


def _results(given: Any, category: str, count: int, seed: int) -> dict[str, Any]:
    from ppcls_sspcab.config.load import load_config
    from ppcls_sspcab.engine.engine import Engine

    folder = given.work / f"{category}_{count}_seed_{seed}"
    run = {"data_root": folder / "data", "category": category, "output_dir": folder, "seed": seed}
    overrides = [*given.override, *(f"Global.{key}={value}" for key, value in run.items())]
    config = load_config(given.config, overrides)
    if not config.folder.results_json.exists():
        _draw(given.data / category, folder / "data" / category, count, seed)
        Engine(config, "train").train()
        Engine(config, "eval").eval()
    return json.loads(config.folder.results_json.read_text(encoding="utf-8"))


def _draw(source: Path, target: Path, count: int, seed: int) -> None:
    """Links the test pictures, and as many good ones to train on as wanted."""
    good = sorted((source / "train" / "good").iterdir())
    drawn = np.random.default_rng(seed).permutation(len(good))[:count]
    (target / "train" / "good").mkdir(parents=True, exist_ok=True)
    links = {Path("train/good") / good[index].name: good[index] for index in drawn}
    links |= {Path(name): source / name for name in ("test", "ground_truth")}
    for name, path in links.items():
        if not (target / name).exists():
            (target / name).symlink_to(path.resolve())


def _cells(runs: list[dict[str, Any]]) -> list[str]:
    protocols = [run["protocol"] for run in runs]
    kept = {protocol["target_kept_on_the_average"] for protocol in protocols}
    return [
        _range([protocol["good_pictures_held_out"] for protocol in protocols]),
        *(
            mean_and_spread([run[name] for run in runs])
            for name in ("image_auroc", "detection_rate", "false_alarm_rate")
        ),
        " or ".join("yes" if one else "no" for one in sorted(kept)),
        mean_and_spread([protocol["plausible_false_alarm_rate"] for protocol in protocols]),
    ]


def _range(counts: list[int]) -> str:
    least, most = min(counts), max(counts)
    return str(least) if least == most else f"{least} to {most}"


if __name__ == "__main__":
    sys.exit(main())
