"""The three anomaly maps side by side, on the generated pictures.

``python benchmarks/localizers.py --output DIR --table docs/results/localizers.md`` trains each
detector of both categories as ``configs/demo.yaml`` does, the patches' on crops, evaluates it, and
writes the table. The seed and steps are those of the demo; nothing is chosen on the test pictures.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from ppcls_sspcab.utils.files import atomic_write
from ppcls_sspcab.utils.launcher import launch
from ppcls_sspcab.utils.machine import machine
from ppcls_sspcab.utils.table import markdown_table, number

ROOT = Path(__file__).resolve().parents[1]
CROP = 32
METHODS: dict[str, dict[str, Any]] = {
    "FeatureGaussian": {"Localize": {"name": "FeatureGaussian"}},
    "SSPCABError": {"Localize": {"name": "SSPCABError"}},
    "PatchCutPaste": {
        "Localize": {"name": "PatchCutPaste", "patch_size": CROP, "stride": 4},
        # Of a crop of 32 pixels, layer3 has 2 x 2 cells: the block would see padding alone.
        "Arch": {"Block": {"replace": "layer2[1].conv1"}},
        "DataLoader": {
            "Train": {
                "dataset": {
                    "transform_ops": [
                        {"RandomCrop": {"size": CROP}},
                        {"ColorJitter": None},
                        {"CutPaste": {"variant": "3way", "reference_size": CROP}},
                    ]
                }
            }
        },
    },
}
IMAGE_AUROC = "image AUROC of its largest value"
HEADER = ("category", "map", "pixel AUROC", "AUPRO", IMAGE_AUROC, "s/picture")


def main() -> int:
    """Trains, measures, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--table", type=Path, required=True)
    options = parser.parse_args()
    launch()
    from ppcls_sspcab.config.load import load_config
    from ppcls_sspcab.data.generated import generate_demo
    from ppcls_sspcab.engine.engine import Engine

    data = options.output / "data"
    generate_demo(data)
    rows = []
    for method, sections in METHODS.items():
        path = options.output / f"{method}.yaml"
        base = {"_BASE_": str(ROOT / "configs" / "demo.yaml"), "Score": {"name": "map_max"}}
        atomic_write(path, yaml.safe_dump({**base, **sections}))
        run = {"data_root": data, "output_dir": options.output / method}
        config = load_config(path, [f"Global.{key}={value}" for key, value in run.items()])
        Engine(config, "train").train()
        started = time.perf_counter()
        results = Engine(config, "eval").eval()
        seconds = time.perf_counter() - started
        pictures = sum(len(result.records) for result in results)
        for result in results:
            measured = (result.pixel.pixel_auroc, result.pixel.aupro, result.image_auroc)
            speed = f"{seconds / pictures:.2f}"
            rows.append([result.category, method, *map(number, measured), speed])
    note = (
        f"{config.Global.epochs * config.Global.iter_per_epoch} steps from scratch, seed "
        f"{config.Global.seed}, pictures of {config.Preprocess.image_size[0]} pixels, last step. "
        f"Machine: {machine()}, shared with other work; seconds are those of the whole evaluation."
    )
    command = "python benchmarks/localizers.py --output DIR --table docs/results/localizers.md"
    atomic_write(options.table, f"{markdown_table(HEADER, rows)}\n\n{note}\n\n`{command}`\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
