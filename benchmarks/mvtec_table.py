"""The 15 categories of MVTec AD beside the figures that others have published.

``python benchmarks/mvtec_table.py run --data ROOT --devices gpu:0`` runs ``ppcls-sspcab study``
with ``configs/mvtec/short.yaml`` (``--recipe paper`` for the full length, ``both``) and the options
given, resuming what it finds in the output folder, and prints the table; ``print`` only prints it.
The published figures and their sources stand in ``mvtec_published.json``. Not run on a GPU by this
project yet.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ppcls_sspcab.cli.main import main as verb
from ppcls_sspcab.paths import StudyFolder
from ppcls_sspcab.utils.table import UNKNOWN, markdown_table

HERE = Path(__file__).resolve().parent
CONFIGS = HERE.parent / "configs" / "mvtec"
PUBLISHED = HERE / "mvtec_published.json"
RECIPES = {"short": ["short"], "paper": ["paper"], "both": ["paper", "short"]}


def table(output: str) -> str:
    """The Markdown table of a study's folder, in per cent, with the sources below it.

    A dash stands where a category has no result; the mean is only given over all 15.
    """
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))["columns"]
    found = json.loads(StudyFolder(output).json.read_text(encoding="utf-8"))
    own = list(dict.fromkeys(row["config"] for row in found["rows"]))
    of = {(row["config"], row["category"]): row for row in found["rows"]}
    means = {row["config"]: row for row in found["means"]}
    rows = [
        [
            category,
            *(f"{column['categories'][category]:.1f}" for column in published),
            *(_figure(of.get((config, category))) for config in own),
        ]
        for category in published[0]["categories"]
    ]
    count = len(published[0]["categories"])
    last = [_figure(means[config]) if means[config]["done"] == count else UNKNOWN for config in own]
    rows.append(["mean", *(f"{column['mean']:.1f}" for column in published), *last])
    header = ["category", *(f"{column['title']} ^{n}^" for n, column in enumerate(published, 1))]
    notes = [
        f"^{n}^ {column['source']}" + (f"; {column['note']}" if column["note"] else "")
        for n, column in enumerate(published, 1)
    ]
    text = markdown_table([*header, *(f"**{config}**, here" for config in own)], rows)
    explained = "Image AUROC, %; ours: mean ± standard deviation over the seeds."
    return "\n\n".join([text, explained, *notes])


def _figure(row: dict[str, Any] | None) -> str:
    if row is None or row["image_auroc"] is None:
        return UNKNOWN
    text = f"{100 * row['image_auroc']:.1f}"
    std = row["image_auroc_std"]
    return text if std is None else f"{text} ± {100 * std:.1f}"


def main() -> int:
    """Runs the verb of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["run", "print"])
    parser.add_argument("--output", default="study_output/mvtec")
    parser.add_argument("--recipe", choices=list(RECIPES), default="short")
    options, of_study = parser.parse_known_args()
    code = 0
    if options.verb == "run":
        for name in RECIPES[options.recipe]:
            of_study += ["-c", str(CONFIGS / f"{name}.yaml")]
        code = verb(["study", "--output", options.output, *of_study])
    elif of_study:
        parser.error(f"print takes no {' '.join(of_study)}")
    if StudyFolder(options.output).json.is_file():
        print(table(options.output))
    elif code == 0:
        parser.error(f"no {StudyFolder(options.output).json}")
    return code


if __name__ == "__main__":
    sys.exit(main())
