"""The table of the recipes that were tried, made of the ``results.json`` files that ``eval`` wrote.

``python benchmarks/tried_recipes.py collect OUTPUT_DIR...`` copies them to ``docs/results/runs``;
``print`` prints the table in ``docs/results.md``: what each length of training came to, and what
the choice between them went by. A test holds the page to it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ppcls_sspcab.utils.files import write_json
from ppcls_sspcab.utils.table import markdown_table, mean_and_spread

STORE = Path(__file__).resolve().parents[1] / "docs" / "results" / "runs"


def collect(output_dirs: list[Path]) -> None:
    """Copies every category's results below the folders, without the paths of this machine."""
    for output_dir in output_dirs:
        for path in sorted(output_dir.glob("*/results.json")):
            results = json.loads(path.read_text(encoding="utf-8"))
            protocol = results["protocol"]
            protocol["data_root"] = Path(protocol["data_root"]).name
            steps = f"{protocol['steps']}x{protocol['source_images_per_step']}"
            name = f"{results['category']}_{steps}_seed_{protocol['seed']}.json"
            write_json(STORE / name, results)


Recipe = tuple[int, int]  # steps, and source pictures of a step


def table() -> str:
    """The Markdown table of every recipe that was trained, by its AUROC on synthetic defects."""
    rows = []
    for (category, recipe), runs in _collected().items():
        protocols = [run["protocol"] for run in runs]
        synthetic = [
            protocol["image_score_auroc_on_synthetic_defects"][protocol["image_score"]]
            for protocol in protocols
        ]
        minutes = max(protocol["training_seconds"] for protocol in protocols) / 60
        rows.append(
            [
                category,
                f"{recipe[0]} x {recipe[1]}",
                len(runs),
                ", ".join(dict.fromkeys(protocol["image_score"] for protocol in protocols)),
                mean_and_spread(synthetic),
                f"{minutes:.1f}",
                mean_and_spread([run["image_auroc"] for run in runs]),
            ]
        )
    header = [
        "category",
        "steps x source pictures",
        "seeds",
        "image score",
        "synthetic defects",
        "training, minutes at most",
        "test pictures (a diagnosis)",
    ]
    return markdown_table(header, rows)


def _collected() -> dict[tuple[str, Recipe], list[dict[str, Any]]]:
    """The results of all seeds, by category and recipe, in order."""
    found: dict[tuple[str, Recipe], list[dict[str, Any]]] = {}
    for path in sorted(STORE.glob("*.json")):
        results = json.loads(path.read_text(encoding="utf-8"))
        protocol = results["protocol"]
        recipe = (protocol["steps"], protocol["source_images_per_step"])
        found.setdefault((results["category"], recipe), []).append(results)
    return dict(sorted(found.items()))


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
