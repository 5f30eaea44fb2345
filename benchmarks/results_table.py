"""The README's table of results, made of the ``results.json`` files that ``eval`` wrote.

``python benchmarks/results_table.py collect OUTPUT_DIR... `` copies them to ``docs/results``;
``python benchmarks/results_table.py print`` prints the table. A test holds the README to it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ppcls_sspcab.utils.launcher import machine

STORE = Path(__file__).resolve().parents[1] / "docs" / "results"
HEADER = (
    "| category | steps | image score | image AUROC (95 %) | false alarms | missed | "
    "pixel AUROC | AUPRO | s/step |"
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
    """The Markdown table of everything in ``docs/results``."""
    rows = [HEADER, "|" + "---|" * (HEADER.count("|") - 1)]
    found = [json.loads(path.read_text(encoding="utf-8")) for path in STORE.glob("*.json")]
    for results in sorted(found, key=lambda r: (r["category"], r["protocol"]["steps"])):
        rows.append("| " + " | ".join(_cells(results)) + " |")
    return "\n".join(rows)


def _cells(results: dict[str, Any]) -> list[str]:
    protocol, counts = results["protocol"], results["counts"]
    low, high = results["intervals"]["image_auroc"]
    steps = protocol["steps"]
    return [
        results["category"],
        str(steps) if steps else "0 (untrained)",
        protocol["image_score"],
        f"{results['image_auroc']:.3f} ({low:.3f} - {high:.3f})",
        f"{counts['false_alarms']} of {counts['good']}",
        f"{counts['missed']} of {counts['bad']}",
        f"{results['pixel_auroc']:.3f}",
        f"{results['aupro']:.3f}",
        f"{protocol['training_seconds'] / steps:.1f}" if steps else "-",
    ]


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
