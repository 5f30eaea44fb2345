"""From a trained network to a Detector: fit the density, calibrate the threshold."""

from __future__ import annotations

from paddle import nn

from ppcls_sspcab.config import Config
from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.density.threshold import Calibration, out_of_fold_scores
from ppcls_sspcab.detector import Detector
from ppcls_sspcab.engine.build import build_density, build_threshold
from ppcls_sspcab.engine.onednn import accelerated
from ppcls_sspcab.engine.scoring import detect_store


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
    calibration = build_threshold(config).fit(scores)
    detector.calibrate(calibration)
    return detector, calibration
