"""From a trained network to a Detector: fit, choose the image score, calibrate the thresholds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.data.build import GoodPictures, build_store, changed, within_tolerance
from ppcls_sspcab.data.samples import Sample
from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.data.tolerance import HELD_OUT_KEYS, VALIDATION_KEYS
from ppcls_sspcab.detector.accelerated import accelerated
from ppcls_sspcab.detector.build import (
    build_threshold,
    candidate_sections,
    chooses_score,
    score_section,
    unfitted_detector,
)
from ppcls_sspcab.detector.detector import Detector
from ppcls_sspcab.detector.threshold.base import Threshold
from ppcls_sspcab.detector.threshold.calibration import Calibration, spread
from ppcls_sspcab.detector.threshold.doubts import standing_apart
from ppcls_sspcab.detector.threshold.out_of_fold import out_of_fold
from ppcls_sspcab.fitting.run import (
    StoredFeatures,
    combine,
    score_all_parts,
    stored_image_scores,
    stored_parts,
)
from ppcls_sspcab.fitting.validation import chosen_score, compare_scores
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.image.sources import find_pictures

# Pixels of each picture that calibrate the map, evenly spread: neighbours are nearly equal.
CALIBRATION_PIXELS = 4096

KINDS = ("good", "bad")  # of Threshold.validation

StoreScores = Callable[[ImageStore], np.ndarray]


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
        fitted_to: contents of the pictures that it was fitted to, or that chose or scaled its
            image score.
        apart: paths of the good pictures whose scores stand far above the others that calibrated.
    """

    detector: Detector
    score: dict[str, Any]
    calibration: Calibration
    pixel_calibration: Calibration | None
    synthetic_auroc: dict[str, float]
    fitted_to: list[str]
    apart: list[str]


def fit_detector(
    detector: Detector, threshold: Threshold, config: Config, pictures: GoodPictures
) -> FittedDetector:
    """Fits a detector to good pictures, chooses its image score and calibrates its thresholds.

    Pictures are not augmented, and the thresholds are calibrated on none that was fitted to: with
    ``calibrate_on: held_out`` on those held out; with ``k_fold`` each picture is scored by what
    was fitted to the other folds. Under ``Tolerance`` they are changed, see
    :func:`ppcls_sspcab.data.build.within_tolerance`.

    Args:
        detector: as :func:`ppcls_sspcab.detector.build.unfitted_detector` gives it, its network
            trained and in evaluation mode; it is fitted in place.
        threshold: as :func:`ppcls_sspcab.detector.build.build_threshold` gives it.
    """
    section = score_section(config)
    aurocs: dict[str, float] = {}
    batch_size = config.DataLoader.Eval.sampler.batch_size
    train, pictures = pictures.train, within_tolerance(pictures, config)
    held_out = pictures.held_out
    with accelerated(detector):
        features = StoredFeatures(detector, pictures.train, batch_size)
        detector.fit(features)
        if held_out is not None:
            parts, pixels = stored_parts(
                detector, held_out, batch_size, "calibrating", CALIBRATION_PIXELS
            )
        else:
            judged = features
            if config.Tolerance is not None:
                store = changed(train, config, HELD_OUT_KEYS)
                judged = StoredFeatures(detector, store, batch_size)
            parts, pixels = _out_of_fold(detector, config, features, judged)
        detector.image_score.standardize(parts)
        chooses = held_out is not None and chooses_score(config)
        if held_out is not None and (chooses or detector.image_score.learns_weights):
            compared = compare_scores(detector, config, held_out, parts)
            aurocs, chosen = compared.aurocs, chosen_score(compared)
        if chooses:
            section = candidate_sections(config)[list(aurocs).index(chosen)]
            detector.image_score, parts = detector.image_score.candidates(parts)[chosen]
        good_scores = combine(detector.image_score, parts)

        def score(store: ImageStore) -> np.ndarray:
            return stored_image_scores(detector, store, batch_size, "scoring")

        calibration = _calibrate(score, threshold, config, good_scores, train.preprocess)
    selected = config.Global.model_selection == "val_synthetic"
    scaled = selected or bool(aurocs) or detector.image_score.uses_held_out
    calibration = _weakened(calibration, held_out is None, scaled)
    pixel_calibration = _calibrate_pixels(pixels, config, len(parts))
    if config.Tolerance is not None:
        calibration = _of_changed(calibration)
        pixel_calibration = pixel_calibration and _of_changed(pixel_calibration)
    detector.calibrate(calibration, pixel_calibration)
    fitted_to = [*train.contents, *(held_out.contents if held_out is not None and scaled else ())]
    judged_on = (held_out or train).samples
    apart = [judged_on[index].path for index in standing_apart(good_scores)]
    return FittedDetector(
        detector, section, calibration, pixel_calibration, aurocs, fitted_to, apart
    )


def _out_of_fold(
    detector: Detector, config: Config, features: StoredFeatures, judged_features: StoredFeatures
) -> tuple[np.ndarray, np.ndarray | None]:
    """Parts of the score [N, P] and map pixels [N, M] of each picture, by the other folds' fit.

    Args:
        features: of the pictures as they are fitted to, all versions of one in a row.
        judged_features: of the same pictures as they are judged, once.
    """
    versions = len(features) // len(judged_features)

    def judge(fitted: np.ndarray, judged: np.ndarray) -> np.ndarray:
        fold = unfitted_detector(config, detector.network)
        fold.fit(features.of((fitted[:, None] * versions + np.arange(versions)).ravel()))
        parts, pixels = score_all_parts(fold, judged_features.of(judged), CALIBRATION_PIXELS)
        return parts if pixels is None else np.concatenate([parts, pixels], axis=1)

    joined = out_of_fold(judge, len(judged_features), config.Threshold.folds, config.Global.seed)
    count = detector.image_score.part_count
    return joined[:, :count], None if config.Localize is None else joined[:, count:]


def _weakened(calibration: Calibration, folded: bool, scaled: bool) -> Calibration:
    """The calibration, not guaranteed where its pictures were not new to the detector."""
    if folded:
        return calibration.without_guarantee(
            "k-fold over the density: the network was trained on the pictures, so new good ones "
            "may score somewhat higher"
        )
    if scaled:
        return calibration.without_guarantee(
            f"{calibration.note}; the held-out pictures also chose the weights, or chose or scaled "
            "the image score, so the rate is kept nearly, not by proof"
        )
    return calibration


def calibration_of(
    score: StoreScores, config: Config, pictures: GoodPictures, fitted: Calibration
) -> Calibration | None:
    """A calibration as :func:`fit_detector` makes it, of the scores of another precision.

    Args:
        score: gives the image scores of a store's pictures.
        pictures: those that the detector was fitted to and calibrated on.
        fitted: of the detector; what weakens its guarantee weakens this one's.

    Returns:
        None where no pictures are held out: to the others the detector was fitted.
    """
    held_out = within_tolerance(pictures, config).held_out
    if held_out is None:
        return None
    method = build_threshold(config)
    found = _calibrate(score, method, config, score(held_out), pictures.train.preprocess)
    if config.Tolerance is not None:
        found = _of_changed(found)
    return found if fitted.guaranteed else found.without_guarantee(fitted.note)


def _calibrate(
    score: StoreScores,
    method: Threshold,
    config: Config,
    good_scores: np.ndarray,
    preprocess: Preprocess,
) -> Calibration:
    if config.Threshold.validation is None:
        return method.calibrate(good_scores)
    return method.calibrate(*(score(_validation_store(kind, config, preprocess)) for kind in KINDS))


def _validation_store(kind: str, config: Config, preprocess: Preprocess) -> ImageStore:
    """The pictures that a folder, file, glob or list of ``Threshold.validation`` stands for."""
    assert config.Threshold.validation is not None, "the caller checks that there are some"
    label = KINDS.index(kind)
    paths = find_pictures([config.Threshold.validation[kind]])
    samples = [Sample(path, label, kind, None, "validation") for path in paths]
    store = build_store(config, samples, f"reading {kind}", preprocess)
    return changed(store, config, VALIDATION_KEYS[label])


def _of_changed(calibration: Calibration) -> Calibration:
    """The calibration, its note saying for which pictures it holds."""
    note = f"{calibration.note}; each picture changed at random within Tolerance"
    return dataclasses.replace(calibration, note=note)


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
