"""Writing a fitted detector, with the protocol of its training."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.config.settled import FITTED, TRAINED, settled_values
from ppcls_sspcab.data.build import GoodPictures
from ppcls_sspcab.detector.build import tiling_section
from ppcls_sspcab.detector.card import DetectorCard
from ppcls_sspcab.detector.file import version_of, without_weights, write_detector
from ppcls_sspcab.detector.scores.composite import score_written_out
from ppcls_sspcab.detector.threshold.doubts import warn_of_doubts
from ppcls_sspcab.fitting.fit import FittedDetector
from ppcls_sspcab.fitting.tolerance import behaviour_under_change
from ppcls_sspcab.fitting.versions import forget_derived, keep_previous
from ppcls_sspcab.registry import DENSITIES, LOCALIZERS
from ppcls_sspcab.utils.distributed import is_first, wait_for_first
from ppcls_sspcab.utils.logger import get_logger
from ppcls_sspcab.utils.machine import machine
from ppcls_sspcab.version import __version__


@dataclasses.dataclass
class Progress:
    """Where a training run stands.

    Attributes:
        step: training steps done.
        seconds: time spent in them, interruptions not counted.
        best_metric: best validation figure so far; None before the first.
        best_epoch: the epoch that would be selected now, counted from 1.
        first_loss: of the first step; None before it.
        trained_before: contents of the pictures that trained the network before it was resumed.
    """

    step: int = 0
    seconds: float = 0.0
    best_metric: float | None = None
    best_epoch: int | None = None
    first_loss: float | None = None
    trained_before: list[str] = dataclasses.field(default_factory=list)


def save_detector(
    fitted: FittedDetector, config: Config, pictures: GoodPictures, progress: Progress
) -> None:
    """Writes a fitted detector to ``config.folder.detector``; several ranks write it once.

    The earlier one, and what was exported and measured of it, goes to ``versions/``, unless
    ``Global.overwrite`` is set.

    Args:
        pictures: those it was fitted to and calibrated on.
        progress: steps done and the selected epoch, for the protocol.
    """
    detector, calibration = fitted.detector, fitted.calibration
    protocol = _protocol(config, pictures, progress) | fit_protocol(fitted, config, pictures)
    trained_on = sorted({*pictures.train.contents, *progress.trained_before})
    detector.card = DetectorCard(
        arch=without_weights(config.Arch),
        preprocess=pictures.train.preprocess,
        category=config.Global.category,
        protocol=protocol,
        trained_on=trained_on,
        version=version_of(detector),
        settings=settled_values(config, TRAINED + FITTED),
        **fitted_sections(fitted, config, trained_on),
    )
    folder = config.folder
    path = folder.detector
    if is_first():
        if not config.Global.overwrite:
            keep_previous(folder, folder.inference, detector.card.version)
        write_detector(detector, path)
        forget_derived(folder, detector.card.version)
    wait_for_first()
    get_logger().info(
        f"{config.Global.category}: threshold {calibration.threshold:.5f} "
        f"({calibration.method}; {calibration.note}) of the image score "
        f"{fitted.score['name']!r}; detector saved to {path}"
    )
    warn_of_doubts(config.Global.category, calibration, fitted.apart)


def fitted_sections(
    fitted: FittedDetector, config: Config, trained_on: Sequence[str]
) -> dict[str, Any]:
    """The fields of the card that follow from the fit, not from the training.

    Args:
        trained_on: contents of the pictures that trained the network.
    """
    return {
        "density": DENSITIES.written_out(config.Density, "Density"),
        "score": score_written_out(fitted.score),
        "localize": config.Localize and LOCALIZERS.written_out(config.Localize, "Localize"),
        "tiling": tiling_section(config),
        "calibration": fitted.calibration,
        "pixel_calibration": fitted.pixel_calibration,
        "fitted_to": sorted(set(fitted.fitted_to).difference(trained_on)),
    }


def fit_protocol(fitted: FittedDetector, config: Config, pictures: GoodPictures) -> dict[str, Any]:
    """Entries of the protocol: the image score, the AUROC of all that it was chosen from, and what
    small changes do (:func:`behaviour_under_change`).
    """
    return {
        "image_score": fitted.score["name"],
        "image_score_auroc_on_synthetic_defects": fitted.synthetic_auroc,
        **behaviour_under_change(fitted, config, pictures),
    }


def _protocol(config: Config, pictures: GoodPictures, progress: Progress) -> dict[str, Any]:
    run = config.Global
    return {
        "data_root": run.data_root,
        "category": run.category,
        "seed": run.seed,
        "epochs": run.epochs,
        "steps": progress.step,
        "source_images_per_step": config.DataLoader.Train.sampler.batch_size,
        "selection": run.model_selection,
        "selected_epoch": progress.best_epoch if run.model_selection != "last" else run.epochs,
        "good_pictures_trained_on": len(pictures.train),
        "good_pictures_held_out": len(pictures.held_out or ()),
        "calibrate_on": config.Threshold.calibrate_on,
        "training_seconds": round(progress.seconds, 1),
        "device": paddle.device.get_device(),
        "machine": machine(),
        "versions": {
            "ppcls_sspcab": __version__,
            "paddle": paddle.__version__,
            "numpy": np.__version__,
            "python": ".".join(map(str, sys.version_info[:3])),
        },
    }
