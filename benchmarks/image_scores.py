"""Every image score of one trained detector, on synthetic defects and on the test pictures.

``python benchmarks/image_scores.py -c YAML -o Global.category=grid`` takes the network of
``<output_dir>/<category>/detector.safetensors`` as it is, fits all candidates of ``Score: auto`` to
the good pictures, and prints their image AUROC. The test column is a diagnosis: ``auto`` chooses by
the synthetic one, and nothing reads the other.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from paddle import nn

from ppcls_sspcab.config import Config, load_config
from ppcls_sspcab.detector import Detector
from ppcls_sspcab.engine.build import (
    build_dataset,
    build_store,
    good_stores,
    unfitted_detector,
)
from ppcls_sspcab.engine.engine import detector_path
from ppcls_sspcab.engine.onednn import accelerated
from ppcls_sspcab.engine.scoring import combine, fitting_features, stored_parts
from ppcls_sspcab.engine.validate import score_aurocs
from ppcls_sspcab.errors import DataError
from ppcls_sspcab.metric.image import image_auroc


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-c", "--config", required=True)
    parser.add_argument("-o", "--override", action="append", default=[])
    options = parser.parse_args()
    config = load_config(options.config, [*options.override, "Score={name: auto}"])
    config.load_plugins()
    synthetic, tested = score_figures(config, Detector.load(detector_path(config))[0].network)
    print(f"{config.run.category}, seed {config.run.seed}")
    print("| image score | synthetic defects | test pictures |\n|---|---|---|")
    for name, auroc in tested.items():
        print(f"| {name} | {synthetic[name]:.4f} | {auroc:.4f} |")
    return 0


def score_figures(config: Config, network: nn.Layer) -> tuple[dict[str, float], dict[str, float]]:
    """Image AUROC of every image score by its name: on synthetic defects, and on test pictures.

    Args:
        config: its ``Score`` is ``auto``.
        network: trained, in evaluation mode.

    Raises:
        DataError: no good pictures are held out.
    """
    good, held_out = good_stores(config)
    if held_out is None:
        raise DataError("Threshold.calibrate_on must be held_out: nothing else is left to compare")
    test = build_store(config, build_dataset(config).test, "reading")
    detector = unfitted_detector(config, network)
    reading = (config.preprocess, config.eval_sampler.batch_size)
    with accelerated(detector):
        detector.fit(fitting_features(detector, good, *reading))
        good_parts, _ = stored_parts(detector, held_out, *reading, "held-out", pixels=1)
        detector.image_score.align(good_parts)
        synthetic = score_aurocs(detector, config, held_out, good_parts)
        parts, _ = stored_parts(detector, test, *reading, "testing", pixels=1)
    labels = np.array([sample.label for sample in test.samples])
    columns = detector.image_score.split(parts)
    tested = {
        score.name: float(image_auroc(labels, combine(score, own)))
        for score, own in zip(detector.image_score.candidates(), columns, strict=True)
    }
    return synthetic, tested


if __name__ == "__main__":
    sys.exit(main())
