"""From a trained network to a Detector: fit, choose the image score, calibrate the thresholds."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import numpy as np

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.data.build import GoodPictures, build_store, within_tolerance
from ppcls_sspcab.data.samples import Sample
from ppcls_sspcab.data.split import evenly_spread
from ppcls_sspcab.data.tolerance import VALIDATION_KEYS, changed_at_random, sources_of
from ppcls_sspcab.detector.accelerated import accelerated
from ppcls_sspcab.detector.build import (
    candidate_sections,
    chooses_score,
    score_section,
    unfitted_detector,
)
from ppcls_sspcab.detector.detector import Detector
from ppcls_sspcab.detector.run import Outputs
from ppcls_sspcab.detector.threshold.base import Threshold
from ppcls_sspcab.detector.threshold.calibration import Calibration, spread
from ppcls_sspcab.detector.threshold.out_of_fold import out_of_fold
from ppcls_sspcab.fitting.run import (
    combine,
    fitting_features,
    score_parts,
    stored_image_scores,
    stored_parts,
)
from ppcls_sspcab.fitting.validation import chosen_score, score_aurocs
from ppcls_sspcab.image.sources import find_pictures

# Pixels of each picture that calibrate the map, evenly spread: neighbours are nearly equal.
CALIBRATION_PIXELS = 4096

C = TypeVar("C", Calibration, Calibration | None)


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
    pictures = within_tolerance(pictures, config)
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
            parts, pixels = _out_of_fold(detector, config, features, sources_of(pictures.train))
        detector.image_score.standardize(parts)
        if held_out is not None and chooses_score(config):
            aurocs = score_aurocs(detector, config, held_out, parts)
            chosen = chosen_score(aurocs)
            section = next(one for one in candidate_sections(config) if one["name"] == chosen)
            detector.image_score, parts = detector.image_score.candidates(parts)[chosen]
        good_scores = combine(detector.image_score, parts)
        calibration = _calibrate(detector, threshold, config, good_scores)
    calibration = _weakened(calibration, held_out is None, bool(aurocs), section)
    pixel_calibration = _calibrate_pixels(pixels, config, len(parts))
    if config.Tolerance is not None:
        calibration, pixel_calibration = _of_changed(calibration), _of_changed(pixel_calibration)
    detector.calibrate(calibration, pixel_calibration)
    return FittedDetector(detector, section, calibration, pixel_calibration, aurocs)


def _out_of_fold(
    detector: Detector, config: Config, features: Outputs, sources: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Parts of the score [N, P] and map pixels [N, M] of each picture, by the other folds' fit.

    Args:
        features: of the pictures of a store, or of as many, evenly spread.
        sources: as :func:`sources_of` gives them for the store. Of a picture that comes several
            times the last is judged, and none is fitted to in its fold.
    """
    sources = sources[evenly_spread(len(sources), len(features["embedding"]))]
    last = {source: index for index, source in enumerate(sources.tolist())}
    numbers, latest = np.array(list(last)), np.array(list(last.values()))

    def judge(fitted: np.ndarray, judged: np.ndarray) -> np.ndarray:
        fold = unfitted_detector(config, detector.network)
        kept = np.isin(sources, numbers[fitted])
        fold.fit({name: value[kept] for name, value in features.items()})
        chosen = {name: value[latest[judged]] for name, value in features.items()}
        parts, pixels = score_parts(fold, chosen, CALIBRATION_PIXELS)
        return parts if pixels is None else np.concatenate([parts, pixels], axis=1)

    joined = out_of_fold(judge, len(last), config.Threshold.folds, config.Global.seed)
    count = detector.image_score.part_count
    return joined[:, :count], None if config.Localize is None else joined[:, count:]


def _weakened(
    calibration: Calibration, folded: bool, chosen: bool, section: dict[str, Any]
) -> Calibration:
    """The calibration, not guaranteed where its pictures were not new to the detector."""
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
    if config.Tolerance is not None:
        first_key = VALIDATION_KEYS[label]
        store = changed_at_random(store, config.Tolerance, config.Global.seed, first_key)
    batch_size = config.DataLoader.Eval.sampler.batch_size
    return stored_image_scores(detector, store, batch_size, f"scoring {kind}")


def _of_changed(calibration: C) -> C:
    """The calibration, its note saying of which pictures it holds."""
    if calibration is None:
        return calibration
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
