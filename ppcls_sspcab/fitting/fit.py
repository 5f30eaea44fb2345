"""From a trained network to a Detector: fit, choose the image score, calibrate the thresholds."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import numpy as np
from paddle import nn

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.data.build import build_store
from ppcls_sspcab.data.samples import Sample
from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.detector.accelerated import accelerated
from ppcls_sspcab.detector.build import (
    AUTO,
    build_threshold,
    candidate_sections,
    chooses_score,
    unfitted_detector,
)
from ppcls_sspcab.detector.card import DEFAULT_SCORE
from ppcls_sspcab.detector.detector import Detector
from ppcls_sspcab.detector.run import Outputs, detect
from ppcls_sspcab.detector.threshold.calibration import Calibration, spread
from ppcls_sspcab.detector.threshold.out_of_fold import out_of_fold
from ppcls_sspcab.fitting.run import (
    combine,
    fitting_features,
    pixel_step,
    run_store,
    score_parts,
    stored_parts,
)
from ppcls_sspcab.fitting.validation import chosen_score, score_aurocs
from ppcls_sspcab.image.sources import find_pictures

# Pixels of each picture that calibrate the map, evenly spread over it: neighbours say the same.
CALIBRATION_PIXELS = 4096


@dataclasses.dataclass(frozen=True)
class FittedDetector:
    """A calibrated detector and how it came about.

    Attributes:
        detector: in evaluation mode.
        score: section ``Score`` of its image score; never ``auto``.
        calibration: of the image score.
        pixel_calibration: of the map; None without one.
        synthetic_auroc: AUROC of each image score on synthetic defects, by name, where they were
            compared.
    """

    detector: Detector
    score: dict[str, Any]
    calibration: Calibration
    pixel_calibration: Calibration | None
    synthetic_auroc: dict[str, float]


def fit_detector(
    network: nn.Layer, config: Config, good: ImageStore, held_out: ImageStore | None
) -> FittedDetector:
    """Fits everything to good pictures, chooses the image score and calibrates the thresholds.

    Pictures are neither augmented nor those the thresholds are calibrated on: with ``held_out``,
    these; with ``k_fold``, each one is scored by what was fitted to the other folds.

    Args:
        network: trained, in evaluation mode.
        good: pictures to fit to.
        held_out: pictures for the thresholds; None with ``calibrate_on: k_fold``.
    """
    detector = unfitted_detector(config, network)
    section = dict(config.get("Score") or DEFAULT_SCORE)
    aurocs: dict[str, float] = {}
    reading = (config.Preprocess, config.eval_sampler.batch_size)
    with accelerated(detector):
        features = fitting_features(detector, good, *reading)
        detector.fit(features)
        if held_out is not None:
            del features
            parts, pixels = stored_parts(
                detector, held_out, *reading, "calibrating", CALIBRATION_PIXELS
            )
        else:
            parts, pixels = _out_of_fold(network, config, features)
        detector.image_score.standardize(parts)
        if chooses_score(config) and held_out is not None:
            aurocs = score_aurocs(detector, config, held_out, parts)
            section, parts = _choose(detector, config, aurocs, parts)
        elif section == {"name": AUTO}:
            section = dict(DEFAULT_SCORE)
        calibration = _calibrate(detector, config, combine(detector.image_score, parts))
    calibration = _weakened(calibration, held_out is None, bool(aurocs), section)
    pixel_calibration = _calibrate_pixels(pixels, config, len(parts))
    detector.calibrate(calibration, pixel_calibration)
    return FittedDetector(detector, section, calibration, pixel_calibration, aurocs)


def _out_of_fold(
    network: nn.Layer, config: Config, features: Outputs
) -> tuple[np.ndarray, np.ndarray | None]:
    """Parts of the score [N, P] and map pixels [N, M], each by what never saw the picture."""
    has_map = config.get("Localize") is not None

    def judge(fitted: np.ndarray, judged: np.ndarray) -> np.ndarray:
        fold = unfitted_detector(config, network)
        fold.fit({name: value[fitted] for name, value in features.items()})
        chosen = {name: value[judged] for name, value in features.items()}
        parts, pixels = score_parts(fold, chosen, CALIBRATION_PIXELS)
        return parts if pixels is None else np.concatenate([parts, pixels], axis=1)

    plan = config.calibration
    joined = out_of_fold(judge, len(features["embedding"]), plan.folds, config.Global.seed)
    if not has_map:
        return joined, None
    pixel_count = _pixels_of(config)
    return joined[:, :-pixel_count], joined[:, -pixel_count:]


def _pixels_of(config: Config) -> int:
    height, width = config.Preprocess.image_size
    return len(range(0, height * width, pixel_step(height * width, CALIBRATION_PIXELS)))


def _choose(
    detector: Detector, config: Config, aurocs: dict[str, float], parts: np.ndarray
) -> tuple[dict[str, Any], np.ndarray]:
    """Gives the detector the score that they speak for, and returns its section and parts."""
    best = list(aurocs).index(chosen_score(aurocs))
    candidates = list(detector.image_score.candidates().values())
    columns = detector.image_score.split(parts)
    detector.image_score = candidates[best]
    return candidate_sections(config)[best], columns[best]


def _weakened(
    calibration: Calibration, folded: bool, chosen: bool, section: dict[str, Any]
) -> Calibration:
    """The calibration without a promise that it could not keep."""
    if folded:
        return calibration.without_guarantee(
            "k-fold over the density: the network was trained on the pictures, so new good ones "
            "may score somewhat higher"
        )
    if chosen or section["name"] == "fused":
        return calibration.without_guarantee(
            f"{calibration.note}; the held-out pictures also chose or scaled the image score, so "
            "the rate is kept nearly, not by proof"
        )
    return calibration


def _calibrate(detector: Detector, config: Config, good_scores: np.ndarray) -> Calibration:
    method = build_threshold(config)
    validation = config.calibration.validation
    if validation is None:
        return method.calibrate(good_scores)
    scores = []
    for label, kind in enumerate(("good", "bad")):
        samples = [
            Sample(path, label, kind, None, "validation")
            for path in find_pictures([validation[kind]])
        ]
        store = build_store(config, samples, f"reading {kind}")
        batches = run_store(
            partial(detect, detector),
            store,
            config.Preprocess,
            config.eval_sampler.batch_size,
            f"scoring {kind}",
        )
        scores.append(np.concatenate([batch["score"] for batch in batches]))
    return method.calibrate(*scores)


def _calibrate_pixels(
    pixels: np.ndarray | None, config: Config, pictures: int
) -> Calibration | None:
    """The value that a share ``pixel_fpr`` of the pixels of good pictures lies above."""
    if pixels is None:
        return None
    share = config.calibration.pixel_fpr
    return Calibration(
        threshold=float(np.quantile(pixels, 1 - share)),
        scale=spread(pixels),
        method="TargetFPR",
        pictures=pictures,
        target_fpr=share,
        guaranteed=False,
        note=f"{share:.2%} of the pixels of {pictures} good pictures lie above it",
    )
