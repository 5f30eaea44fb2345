"""False alarms and detections under small changes, without and with ``Tolerance``.

``python benchmarks/tolerance.py -c YAML -o Global.category=bottle`` takes the network of
``<output_dir>/<category>/detector.safetensors`` as it is, fits and calibrates it once without and
once with the YAML's ``Tolerance`` (the default one where it has none), and judges the test pictures
under each change at the tolerance's ends and beyond. The network is the same in both, so what
training under ``Tolerance`` adds shows between two YAMLs. Of several YAMLs (``-c
study_output/runs/*/seed_*/*/run.yaml``) those of one category are averaged.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.utils.launcher import launch
from ppcls_sspcab.utils.table import markdown_table, mean_and_spread

if TYPE_CHECKING:
    from paddle import nn

    from ppcls_sspcab.data.build import GoodPictures
    from ppcls_sspcab.data.store import ImageStore
    from ppcls_sspcab.data.tolerance import Change

FITS = ("off", "on")
COLUMNS = ("false alarms", "detections", "AUROC")


class Figures(NamedTuple):
    """Of the test pictures under one change, in [0, 1]: at the threshold, and without one."""

    false_alarms: float
    detections: float
    auroc: float


def main() -> int:
    """Prints a table for each category."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-c", "--config", required=True, nargs="+")
    parser.add_argument("-o", "--override", action="append", default=[])
    options = parser.parse_args()
    launch()
    configs = [load_config(path, options.override) for path in options.config]
    found: dict[str, list[dict[str, dict[str, Figures]]]] = {}
    for config in configs:
        config.load_plugins()
        found.setdefault(config.Global.category, []).append(run_figures(config))
    for category, runs in found.items():
        print(f"{category}\n\n{_table(runs)}\n")
    return 0


def _table(runs: Sequence[dict[str, dict[str, Figures]]]) -> str:
    header = ["change", *(f"{column}, {fit}" for fit in FITS for column in COLUMNS)]
    rows = [
        [
            change,
            *(
                mean_and_spread([run[fit][change][column] for run in runs])
                for fit in FITS
                for column in range(len(COLUMNS))
            ),
        ]
        for change in runs[0][FITS[0]]
    ]
    return markdown_table(header, rows)


def run_figures(config: Config) -> dict[str, dict[str, Figures]]:
    """Figures by fit (``FITS``) and change, of the network that a run left."""
    from ppcls_sspcab.data.build import build_dataset, build_store, good_pictures
    from ppcls_sspcab.data.tolerance import Change
    from ppcls_sspcab.detector.file import load_detector
    from ppcls_sspcab.fitting.tolerance import single_changes

    network = load_detector(config.folder.detector).network
    if config.Tolerance is None:
        config = load_config(config, {"Tolerance": {}})
    assert config.Tolerance is not None
    unchanged = {"none": [Change()]}
    changes = unchanged | single_changes(config.Tolerance, *config.Preprocess.image_size)
    pictures = good_pictures(config)
    test = build_store(config, build_dataset(config).test, "reading")
    return {
        fit: _figures(load_config(config, override), network, pictures, test, changes)
        for fit, override in zip(FITS, ({"Tolerance": None}, {}), strict=True)
    }


def _figures(
    config: Config,
    network: nn.Layer,
    pictures: GoodPictures,
    test: ImageStore,
    changes: dict[str, list[Change]],
) -> dict[str, Figures]:
    from ppcls_sspcab.data.tolerance import ChangedStore
    from ppcls_sspcab.detector.accelerated import accelerated
    from ppcls_sspcab.detector.build import build_threshold, unfitted_detector
    from ppcls_sspcab.fitting.fit import fit_detector
    from ppcls_sspcab.fitting.run import stored_image_scores
    from ppcls_sspcab.metric.image import image_auroc

    unfitted, threshold = unfitted_detector(config, network), build_threshold(config)
    fitted = fit_detector(unfitted, threshold, config, pictures)
    labels = np.array([sample.label for sample in test.samples])
    size = config.DataLoader.Eval.sampler.batch_size
    found = {}
    with accelerated(fitted.detector):
        for name, turns in changes.items():
            changed = ChangedStore(test, partial(_in_turn, turns))
            scores = stored_image_scores(fitted.detector, changed, size, name)
            alarms = scores > fitted.calibration.threshold
            found[name] = Figures(
                false_alarms=float(alarms[labels == 0].mean()),
                detections=float(alarms[labels == 1].mean()),
                auroc=float(image_auroc(labels, scores)),
            )
    return found


def _in_turn(turns: Sequence[Change], index: int, image: np.ndarray) -> np.ndarray:
    from ppcls_sspcab.data.tolerance import apply_change

    return apply_change(image, turns[index % len(turns)])


if __name__ == "__main__":
    sys.exit(main())
