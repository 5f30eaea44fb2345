"""The tables of real results, made of the ``results.json`` files that ``eval`` wrote.

``python benchmarks/results_table.py collect OUTPUT_DIR... `` copies them to ``docs/results/runs``;
``print`` prints the README's table, of the recipe as it is shipped, and ``tried`` that of all runs
in ``docs/results.md``, with what the choice between them went by. A test holds both to it.
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
from ppcls_sspcab.config import load_config
from ppcls_sspcab.utils.launcher import machine

STORE = Path(__file__).resolve().parents[1] / "docs" / "results" / "runs"
CONFIG = common.CONFIGS / "cutpaste_sspcab_cpu.yaml"
HEADER = (
    "category",
    "steps x source pictures",
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
            steps = f"{protocol['steps']}x{protocol['source_images_per_step']}"
            name = f"{results['category']}_{steps}_seed_{protocol['seed']}.json"
            STORE.mkdir(parents=True, exist_ok=True)
            text = json.dumps(results, indent=2, ensure_ascii=False)
            (STORE / name).write_text(text + "\n", encoding="utf-8")


Recipe = tuple[int, int]  # steps, and source pictures of a step


def table() -> str:
    """The Markdown table of the shipped recipe and the untrained network, seeds together."""
    config = load_config(CONFIG, [])
    steps = config.run.epochs * config.run.iter_per_epoch
    shipped = (steps, config.train_sampler.batch_size)
    rows = {
        (category, recipe): runs
        for (category, recipe), runs in _collected().items()
        if recipe == shipped or not recipe[0]
    }
    return common.table(HEADER, [_cells(*key, runs) for key, runs in rows.items()])


def tried() -> str:
    """The Markdown table of every recipe that was trained, by its AUROC on synthetic defects."""
    rows = []
    for (category, recipe), runs in _collected().items():
        by = [run["protocol"]["image_score_auroc_on_synthetic_defects"] for run in runs]
        if recipe[0]:
            best = [max(found.values()) for found in by]
            tested = [run["image_auroc"] for run in runs]
            minutes = max(run["protocol"]["training_seconds"] for run in runs) / 60
            rows.append(
                [
                    category,
                    _name(recipe),
                    len(runs),
                    common.mean_and_spread(best),
                    f"{minutes:.1f}",
                    common.mean_and_spread(tested),
                ]
            )
    header = ["category", "steps x source pictures", "seeds", "synthetic defects"]
    return common.table([*header, "training, minutes", "test pictures (a diagnosis)"], rows)


def _collected() -> dict[tuple[str, Recipe], list[dict[str, Any]]]:
    """The results of all seeds, by category and recipe, in order."""
    found: dict[tuple[str, Recipe], list[dict[str, Any]]] = {}
    for path in sorted(STORE.glob("*.json")):
        results = json.loads(path.read_text(encoding="utf-8"))
        protocol = results["protocol"]
        recipe = (protocol["steps"], protocol["source_images_per_step"])
        found.setdefault((results["category"], recipe), []).append(results)
    return dict(sorted(found.items()))


def _name(recipe: Recipe) -> str:
    return f"{recipe[0]} x {recipe[1]}" if recipe[0] else "0 (untrained)"


def _cells(category: str, recipe: Recipe, runs: list[dict[str, Any]]) -> list[str]:
    aurocs, steps = [run["image_auroc"] for run in runs], recipe[0]
    intervals = [run["intervals"]["image_auroc"] for run in runs]
    seconds = [run["protocol"]["training_seconds"] for run in runs]
    return [
        category,
        _name(recipe),
        str(len(runs)),
        ", ".join(dict.fromkeys(run["protocol"]["image_score"] for run in runs)),
        common.mean_and_spread(aurocs),
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
    parser.add_argument("verb", choices=["collect", "print", "tried"])
    parser.add_argument("output_dirs", nargs="*", type=Path)
    options = parser.parse_args()
    if options.verb == "collect":
        collect(options.output_dirs)
    else:
        print(tried() if options.verb == "tried" else table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
