"""The README's table of results, made of the ``results.json`` files that ``eval`` wrote.

``python benchmarks/results_table.py collect OUTPUT_DIR... `` copies them to ``docs/results``;
``python benchmarks/results_table.py print`` prints the table. A test holds the README to it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common
from ppcls_sspcab.utils.launcher import machine

STORE = Path(__file__).resolve().parents[1] / "docs" / "results"
HEADER = (
    "category",
    "steps",
    "seeds",
    "image score",
    "image AUROC",
    "each seed (95 %)",
    "false alarms",
    "missed",
    "pixel AUROC",
    "AUPRO",
    "s/step",
    "training, minutes",
)


def collect(output_dirs: list[Path]) -> None:
    """Copies every category's results below the folders, without the paths of this machine."""
    for output_dir in output_dirs:
        for path in sorted(output_dir.glob("*/results.json")):
            results = json.loads(path.read_text(encoding="utf-8"))
            protocol = results["protocol"]
            protocol["data_root"] = Path(protocol["data_root"]).name
            protocol["machine"] = machine()
            name = f"{results['category']}_{protocol['steps']}_steps_seed_{protocol['seed']}.json"
            STORE.mkdir(parents=True, exist_ok=True)
            text = json.dumps(results, indent=2, ensure_ascii=False)
            (STORE / name).write_text(text + "\n", encoding="utf-8")


def table() -> str:
    """The Markdown table of everything in ``docs/results``, the seeds of a row together."""
    rows: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for path in sorted(STORE.glob("*_steps_seed_*.json")):
        results = json.loads(path.read_text(encoding="utf-8"))
        rows.setdefault((results["category"], results["protocol"]["steps"]), []).append(results)
    return common.table(HEADER, [_cells(*key, rows[key]) for key in sorted(rows)])


def _cells(category: str, steps: int, runs: list[dict[str, Any]]) -> list[str]:
    aurocs = [run["image_auroc"] for run in runs]
    spread = f" ± {statistics.stdev(aurocs):.3f}" if len(aurocs) > 1 else ""
    intervals = [run["intervals"]["image_auroc"] for run in runs]
    seconds = [run["protocol"]["training_seconds"] for run in runs]
    return [
        category,
        str(steps) if steps else "0 (untrained)",
        str(len(runs)),
        ", ".join(dict.fromkeys(run["protocol"]["image_score"] for run in runs)),
        f"{statistics.fmean(aurocs):.3f}{spread}",
        "; ".join(
            f"{auroc:.3f} ({low:.3f} - {high:.3f})"
            for auroc, (low, high) in zip(aurocs, intervals, strict=True)
        ),
        _share(runs, "false_alarms", "good"),
        _share(runs, "missed", "bad"),
        f"{statistics.fmean(run['pixel_auroc'] for run in runs):.3f}",
        f"{statistics.fmean(run['aupro'] for run in runs):.3f}",
        f"{statistics.fmean(seconds) / steps:.1f}" if steps else "–",
        f"{max(seconds) / 60:.1f}" if steps else "–",
    ]


def _share(runs: list[dict[str, Any]], what: str, of: str) -> str:
    found, whole = (sum(run["counts"][name] for run in runs) for name in (what, of))
    return f"{found} of {whole}"


def main() -> int:
    """Runs the verb of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["collect", "print"])
    parser.add_argument("output_dirs", nargs="*", type=Path)
    options = parser.parse_args()
    if options.verb == "collect":
        collect(options.output_dirs)
    else:
        print(table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
