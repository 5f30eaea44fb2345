"""From a trained network to a Detector: fit, choose the image score, calibrate the thresholds."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import numpy as np
from paddle import nn

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.data.build import GoodPictures, build_store
from ppcls_sspcab.data.samples import Sample
from ppcls_sspcab.detector.accelerated import accelerated
from ppcls_sspcab.detector.build import (
    AUTO,
    candidate_sections,
    chooses_score,
    unfitted_detector,
)
from ppcls_sspcab.detector.card import DEFAULT_SCORE
from ppcls_sspcab.detector.detector import Detector
from ppcls_sspcab.detector.run import Outputs, detect
from ppcls_sspcab.detector.threshold.base import Threshold
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
    detector: Detector, threshold: Threshold, config: Config, pictures: GoodPictures
) -> FittedDetector:
    """Fits a detector to good pictures, chooses its image score and calibrates its thresholds.

    Pictures are not augmented, and the thresholds are calibrated on none that was fitted to: with
    ``calibrate_on: held_out`` on those held out; with ``k_fold`` each picture is scored by what
    was fitted to the other folds.

    Args:
        detector: as :func:`ppcls_sspcab.detector.build.unfitted_detector` gives it, its network
            trained and in evaluation mode; it is fitted in place.
        threshold: as :func:`ppcls_sspcab.detector.build.build_threshold` gives it.
    """
    section = dict(config.Score or DEFAULT_SCORE)
    aurocs: dict[str, float] = {}
    batch_size = config.DataLoader.Eval.sampler.batch_size
    held_out = pictures.held_out
    with accelerated(detector):
        features = fitting_features(detector, pictures.train, batch_size)
        detector.fit(features)
        if held_out is not None:
            del features
            parts, pixels = stored_parts(
                detector, held_out, batch_size, "calibrating", CALIBRATION_PIXELS
            )
        else:
            parts, pixels = _out_of_fold(detector.network, config, features)
        detector.image_score.standardize(parts)
        if chooses_score(config) and held_out is not None:
            aurocs = score_aurocs(detector, config, held_out, parts)
            section, parts = _choose(detector, config, aurocs, parts)
        elif section == {"name": AUTO}:
            section = dict(DEFAULT_SCORE)
        good_scores = combine(detector.image_score, parts)
        calibration = _calibrate(detector, threshold, config, good_scores)
    calibration = _weakened(calibration, held_out is None, bool(aurocs), section)
    pixel_calibration = _calibrate_pixels(pixels, config, len(parts))
    detector.calibrate(calibration, pixel_calibration)
    return FittedDetector(detector, section, calibration, pixel_calibration, aurocs)


def _out_of_fold(
    network: nn.Layer, config: Config, features: Outputs
) -> tuple[np.ndarray, np.ndarray | None]:
    """Parts of the score [N, P] and map pixels [N, M], each by what never saw the picture."""

    def judge(fitted: np.ndarray, judged: np.ndarray) -> np.ndarray:
        fold = unfitted_detector(config, network)
        fold.fit({name: value[fitted] for name, value in features.items()})
        chosen = {name: value[judged] for name, value in features.items()}
        parts, pixels = score_parts(fold, chosen, CALIBRATION_PIXELS)
        return parts if pixels is None else np.concatenate([parts, pixels], axis=1)

    plan = config.Threshold
    joined = out_of_fold(judge, len(features["embedding"]), plan.folds, config.Global.seed)
    if config.Localize is None:
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


def _calibrate(
    detector: Detector, method: Threshold, config: Config, good_scores: np.ndarray
) -> Calibration:
    validation = config.Threshold.validation
    if validation is None:
        return method.calibrate(good_scores)
    return method.calibrate(
        *(_scores_of(validation[kind], kind, detector, config) for kind in ("good", "bad"))
    )


def _scores_of(folder: str, kind: str, detector: Detector, config: Config) -> np.ndarray:
    """Image scores [N] of the pictures that a folder, file, glob or list stands for."""
    label = int(kind == "bad")
    samples = [Sample(path, label, kind, None, "validation") for path in find_pictures([folder])]
    store = build_store(config, samples, f"reading {kind}")
    run = partial(detect, detector)
    batches = run_store(run, store, config.DataLoader.Eval.sampler.batch_size, f"scoring {kind}")
    return np.concatenate([batch["score"] for batch in batches])


def _calibrate_pixels(
    pixels: np.ndarray | None, config: Config, pictures: int
) -> Calibration | None:
    """The value that a share ``pixel_fpr`` of the pixels of good pictures lies above."""
    if pixels is None:
        return None
    share = config.Threshold.pixel_fpr
    return Calibration(
        threshold=float(np.quantile(pixels, 1 - share)),
        scale=spread(pixels),
        method="TargetFPR",
        pictures=pictures,
        target_fpr=share,
        guaranteed=False,
        note=f"{share:.2%} of the pixels of {pictures} good pictures lie above it",
    )
