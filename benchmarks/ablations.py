"""What each part of the recipe is worth: one part changed at a time, a short training, all seeds.

``python benchmarks/ablations.py run --data ROOT --pretrained FILE`` trains every row of ``ROWS``
(``--row``: only one) on every category with every seed, and fits all image scores to each network.
A run whose figures lie below ``--work`` is not run again. ``collect`` gathers them into
``docs/results/ablations.json``, and ``print`` prints the table.

The protocol is the CPU recipe at 128 px with 60 steps: small enough for three seeds of everything,
and on grid not yet perfect, so that rows can differ. There is no map, which no row would change.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common
from ppcls_sspcab.detector.file import load_detector
from ppcls_sspcab.utils.files import atomic_write, write_json
from ppcls_sspcab.utils.launcher import launch
from ppcls_sspcab.utils.machine import machine
from ppcls_sspcab.utils.table import markdown_table, mean_and_spread

STORE = common.CONFIGS.parent / "docs" / "results" / "ablations.json"
CONFIG = common.CONFIGS / "variants" / "paper_pastes.yaml"
PROTOCOL = (
    "Preprocess.image_size=[128, 128]",
    "Global.epochs=3",
    "DataLoader.Train.loader.num_workers=0",
    "Localize=null",
    "Score={name: embedding}",
)
FIGURES = "ablation.json"
KERNEL = "embedding, kernel density"
SCORES = ("fused", "embedding", KERNEL)


class Row(NamedTuple):
    """One change of the recipe: its title in the table, and ``KEY=VALUE`` as ``-o`` takes them."""

    title: str
    overrides: tuple[str, ...] = ()


def _loss(weight: float, detach: bool = False) -> str:
    block = f"{{SSPCABLoss: {{weight: {weight}, detach_target: {str(detach).lower()}}}}}"
    return f"Loss.Train=[{{CELoss: {{weight: 1.0}}}}, {block}]"


def _pasted(options: str, first: str = "") -> str:
    """CutPaste with these options, and before all else the transform ``first``."""
    transforms = (
        f"[{first}{{RandomTranslation: null}}, {{ColorJitter: null}}, {{CutPaste: {{{options}}}}}]"
    )
    return f"DataLoader.Train.dataset.transform_ops={transforms}"


def _variant(name: str) -> tuple[str, str]:
    return _pasted(f"variant: {name}"), "Arch.class_num=2"


_TURN = "{RandomTurn: {angles: any}}, "
_SMALL = "area_ratio: [0.003, 0.03], scar_width: [5, 16]"
_ON_PART = f"source: other, blend: poisson, on_part: true, {_SMALL}"

ROWS = {
    "full": Row("the recipe: SSPCAB, λ 0.1, 3way, one hidden layer"),
    "no-sspcab": Row("without SSPCAB", ("Arch.Block=null", "Loss.Train=[{CELoss: {weight: 1.0}}]")),
    "lambda-0": Row("SSPCAB, λ 0", (_loss(0),)),
    "lambda-0.01": Row("SSPCAB, λ 0.01", (_loss(0.01),)),
    "lambda-1": Row("SSPCAB, λ 1", (_loss(1),)),
    "detach": Row("SSPCAB, λ 0.1, target detached", (_loss(0.1, detach=True),)),
    "deep-head": Row("three hidden layers", ("Arch.Head.hidden_layers=3",)),
    "normal": Row("CutPaste normal", _variant("normal")),
    "scar": Row("CutPaste scar", _variant("scar")),
    "union": Row("CutPaste union", _variant("union")),
    "other": Row("patches of another picture", (_pasted("source: other"),)),
    "feather": Row("patches feathered", (_pasted("blend: feather"),)),
    "poisson": Row("patches Poisson-blended", (_pasted("blend: poisson"),)),
    "on-part": Row("patches cut and pasted on the part", (_pasted("on_part: true"),)),
    "small": Row("small patches", (_pasted(_SMALL),)),
    "turning": Row("turned by any angle", (_pasted("variant: 3way", _TURN),)),
    "paste-on-part": Row("all five of these", (_pasted(_ON_PART, _TURN),)),
}


def main() -> int:
    """Runs or prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["run", "collect", "print"])
    parser.add_argument("--row", choices=ROWS, help="only this one")
    parser.add_argument("--data", help="folder of the categories")
    parser.add_argument("--pretrained", help="file of ImageNet weights")
    parser.add_argument("--categories", default="grid,bottle")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", default="ablation_output", help="folder of the trainings")
    options = parser.parse_args()
    if options.verb == "run" and not (options.data and options.pretrained):
        parser.error("run needs --data and --pretrained")
    if options.verb == "collect":
        paths = sorted(Path(options.work).glob(f"*/seed_*/*/{FIGURES}"))
        found = [json.loads(path.read_text("utf-8")) for path in paths]
        atomic_write(STORE, json.dumps(found, indent=1) + "\n")
        return 0
    if options.verb == "print":
        print(table())
        return 0
    launch()
    for category in options.categories.split(","):
        for seed in range(options.seeds):
            for name in [options.row] if options.row else ROWS:
                _run(name, category, seed, options)
    return 0


def _run(name: str, category: str, seed: int, options: argparse.Namespace) -> None:
    folder = Path(options.work) / name / f"seed_{seed}"
    path = folder / category / FIGURES
    if path.exists():
        return
    from benchmarks.image_scores import score_figures
    from ppcls_sspcab.config.load import load_config
    from ppcls_sspcab.engine.engine import Engine

    overrides = [
        *PROTOCOL,
        *ROWS[name].overrides,
        f"Global.data_root={options.data}",
        f"Global.category={category}",
        f"Global.seed={seed}",
        f"Global.output_dir={folder}",
        f"Arch.pretrained={options.pretrained}",
    ]
    started = time.monotonic()
    (detector,) = Engine(load_config(CONFIG, overrides), "train").train()
    network = load_detector(detector).network
    overrides.append("Score={name: auto}")
    synthetic, _, found = score_figures(load_config(CONFIG, overrides), network)
    overrides.append("Density={name: KernelDensity}")
    _, _, by_kernel = score_figures(load_config(CONFIG, overrides), network)
    result = {
        "row": name,
        "category": category,
        "seed": seed,
        # The first candidate is the fused score that is taken unless another is clearly better.
        "image_auroc": {
            **found,
            "fused": next(iter(found.values())),
            KERNEL: by_kernel["embedding"],
        },
        "synthetic_auroc": synthetic,
        "seconds": time.monotonic() - started,
        "machine": machine(),
    }
    write_json(path, result)


def table() -> str:
    """The Markdown table of every run that was collected; a row that was not run is left out."""
    found = json.loads(STORE.read_text(encoding="utf-8"))
    categories = sorted({run["category"] for run in found}, reverse=True)
    columns = [(category, score) for category in categories for score in SCORES]
    rows = []
    for name, row in ROWS.items():
        runs = [run for run in found if run["row"] == name]
        if not runs:
            continue
        cells = [
            mean_and_spread(values)
            for category, score in columns
            for values in [[r["image_auroc"][score] for r in runs if r["category"] == category]]
        ]
        seeds = len({run["seed"] for run in runs})
        away = _paired(runs, [run for run in found if run["row"] == "full"])
        worth = mean_and_spread([] if name == "full" else away, signed=True)
        rows.append([row.title, seeds, *cells, worth, f"`--row {name}`"])
    header = [
        "",
        "seeds",
        *(f"{category}: {score}" for category, score in columns),
        "fused, less the recipe's",
        "run with",
    ]
    return markdown_table(header, rows)


def _paired(runs: list[dict[str, Any]], recipe: list[dict[str, Any]]) -> list[float]:
    """How much more ``fused`` has than in the recipe's run of the same category and seed."""
    own, of = (
        {(run["category"], run["seed"]): run["image_auroc"]["fused"] for run in each}
        for each in (runs, recipe)
    )
    return [auroc - of[key] for key, auroc in own.items() if key in of]


if __name__ == "__main__":
    sys.exit(main())
