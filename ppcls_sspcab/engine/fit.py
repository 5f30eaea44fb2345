"""From a trained network to a Detector: fit the density, calibrate the threshold."""

from __future__ import annotations

import numpy as np
from paddle import nn

from ppcls_sspcab.config import Config
from ppcls_sspcab.data.samples import Sample
from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.density.threshold import Calibration, out_of_fold_scores
from ppcls_sspcab.detector import Detector
from ppcls_sspcab.engine.build import build_density, build_store, build_threshold
from ppcls_sspcab.engine.onednn import accelerated
from ppcls_sspcab.engine.scoring import detect_store
from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.runtime.sources import find_pictures


def fit_detector(
    network: nn.Layer, config: Config, good: ImageStore, held_out: ImageStore | None
) -> tuple[Detector, Calibration]:
    """Fits the density to good pictures and calibrates the threshold.

    Pictures are neither augmented nor those the threshold is calibrated on: with ``held_out``,
    these; with ``k_fold``, each one is scored by a density fitted to the other folds.

    Args:
        network: trained, in evaluation mode.
        good: pictures the density is fitted to.
        held_out: pictures for the threshold; None with ``calibrate_on: k_fold``.

    Returns:
        the calibrated detector in evaluation mode, and how it was calibrated.
    """
    detector = Detector(network, build_density(config, network))
    detector.eval()
    batch_size = config.eval_sampler.batch_size
    with accelerated(detector, config.preprocess.image_size):
        # The density is not fitted yet: of this pass only the embeddings count.
        found = detect_store(detector, good, config.preprocess, batch_size, "fitting")
        embeddings = found["embedding"]
        detector.density.fit(embeddings)
        if held_out is not None:
            found = detect_store(detector, held_out, config.preprocess, batch_size, "calibrating")
            scores = found["score"]
        else:
            scores = out_of_fold_scores(
                lambda: build_density(config, network),
                embeddings,
                config.calibration.folds,
                config.run.seed,
            )
        calibration = _calibrate(detector, config, scores)
    if held_out is None:
        calibration = calibration.without_guarantee(
            "k-fold over the density: the network was trained on the pictures, so new good ones "
            "may score somewhat higher"
        )
    detector.calibrate(calibration)
    return detector, calibration


def _calibrate(detector: Detector, config: Config, good_scores: np.ndarray) -> Calibration:
    method = build_threshold(config)
    validation = config.calibration.validation
    if not method.needs_bad_scores:
        if validation is not None:
            raise ConfigError(
                "Threshold.validation", f"{type(method).__name__} needs good pictures only"
            )
        return method.fit(good_scores)
    if validation is None:
        raise ConfigError(
            "Threshold.validation",
            f"{type(method).__name__} needs a validation set of your own: {{good: FOLDER, bad: "
            "FOLDER}, pictures that are in no test set",
        )
    scores = []
    for label, kind in enumerate(("good", "bad")):
        samples = [
            Sample(path, label, kind, None, "validation")
            for path in find_pictures([validation[kind]])
        ]
        store = build_store(config, samples, f"reading {kind}")
        found = detect_store(
            detector, store, config.preprocess, config.eval_sampler.batch_size, f"scoring {kind}"
        )
        scores.append(found["score"])
    return method.fit(*scores)
