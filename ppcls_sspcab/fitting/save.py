"""From a trained network to the file of a calibrated detector."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.detector.build import tiling_section
from ppcls_sspcab.detector.card import DetectorCard
from ppcls_sspcab.detector.file import without_weights, write_detector
from ppcls_sspcab.engine.checkpoint import Progress
from ppcls_sspcab.fitting.fit import fit_detector
from ppcls_sspcab.utils.distributed import is_first, wait_for_first
from ppcls_sspcab.utils.logger import get_logger
from ppcls_sspcab.utils.machine import machine
from ppcls_sspcab.version import __version__


def save_detector(
    network: paddle.nn.Layer,
    config: Config,
    good: ImageStore,
    held_out: ImageStore | None,
    progress: Progress,
    seconds: float,
) -> Path:
    """Makes a trained network a calibrated Detector and writes it; returns its file.

    Args:
        network: trained, in evaluation mode.
        good, held_out: as :func:`ppcls_sspcab.fitting.fit.fit_detector` takes them.
        progress: steps done and the selected epoch, for the protocol.
        seconds: how long the training took.
    """
    fitted = fit_detector(network, config, good, held_out)
    calibration = fitted.calibration
    card = DetectorCard(
        arch=without_weights(config["Arch"]),
        density=dict(config["Density"]),
        preprocess=config.Preprocess,
        category=config.Global.category,
        calibration=calibration,
        protocol={
            **_protocol(config, progress, len(good), held_out, seconds),
            "image_score": fitted.score["name"],
            "image_score_auroc_on_synthetic_defects": fitted.synthetic_auroc,
        },
        score=fitted.score,
        localize=config.get("Localize"),
        tiling=tiling_section(config),
        pixel_calibration=fitted.pixel_calibration,
    )
    path = config.folder.detector
    if is_first():
        fitted.detector.card = card
        write_detector(fitted.detector, path)
    wait_for_first()
    get_logger().info(
        f"{config.Global.category}: threshold {calibration.threshold:.5f} "
        f"({calibration.method}; {calibration.note}) of the image score "
        f"{fitted.score['name']!r}; detector saved to {path}"
    )
    return path


def _protocol(
    config: Config, progress: Progress, pictures: int, held_out: Any, seconds: float
) -> dict[str, Any]:
    run = config.Global
    return {
        "data_root": run.data_root,
        "category": run.category,
        "seed": run.seed,
        "epochs": run.epochs,
        "steps": progress.step,
        "source_images_per_step": config.train_sampler.batch_size,
        "selection": run.model_selection,
        "selected_epoch": progress.best_epoch if run.model_selection != "last" else run.epochs,
        "good_pictures_trained_on": pictures,
        "good_pictures_held_out": len(held_out) if held_out is not None else 0,
        "calibrate_on": config.calibration.calibrate_on,
        "training_seconds": round(seconds, 1),
        "device": paddle.device.get_device(),
        "machine": machine(),
        "versions": {
            "ppcls_sspcab": __version__,
            "paddle": paddle.__version__,
            "numpy": np.__version__,
            "python": ".".join(map(str, sys.version_info[:3])),
        },
    }
