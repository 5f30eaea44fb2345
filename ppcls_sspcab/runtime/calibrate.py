"""A new threshold for an exported model, by good pictures from where it works."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from typing import Literal

import numpy as np

from ppcls_sspcab.detector.threshold.calibration import Calibration
from ppcls_sspcab.detector.threshold.target_fpr import TargetFPR
from ppcls_sspcab.errors import ConfigError, DataError
from ppcls_sspcab.image.sources import find_pictures
from ppcls_sspcab.result import Failure
from ppcls_sspcab.runtime.predictor import Predictor
from ppcls_sspcab.utils.logger import get_logger


def calibrate(
    model_dir: str | os.PathLike[str],
    good: str,
    target_fpr: float = 0.05,
    backend: Literal["auto", "paddle", "onnx"] = "auto",
    precision: Literal["fp32", "int8"] = "fp32",
    on_error: Literal["stop", "skip"] = "stop",
) -> Calibration:
    """Rewrites ``threshold`` and ``scale`` in ``inference.yml``, and nothing else of the model.

    The graph keeps the normalised score of the export, so the records and
    :meth:`~ppcls_sspcab.runtime.predictor.Predictor.outputs` take theirs from ``inference.yml``.
    Needs no Paddle with the backend ``onnx``.

    Args:
        model_dir: folder that ``export`` wrote.
        good: folder, file, glob or ``.txt`` list of good pictures that the network was not
            trained on.
        target_fpr: share of good pictures that may be called anomalies, in (0, 1).
        backend, precision: what runs the model, as it will at the line: INT8 scores pictures a
            little differently.
        on_error: what an unreadable picture does: ``stop``, or ``skip`` and be named in the log.

    Raises:
        ConfigError: ``target_fpr`` outside (0, 1).
        DataError: no picture, or one that cannot be read.
        ModelError: a missing or changed file, or scores that are no numbers.
    """
    try:
        method = TargetFPR(target_fpr)
    except ValueError as error:
        raise ConfigError("--target-fpr", str(error)) from error
    paths = find_pictures([good])
    predictor = Predictor(model_dir, backend, precision=precision)
    scores = []
    for record in predictor.stream(paths):
        if not isinstance(record, Failure):
            scores.append(record.score)
        elif on_error == "stop":
            raise DataError(f"{record.path}: {record.error}; nothing was changed")
        else:
            get_logger().warning(f"skipped {record.path}: {record.error}")
    calibration = method.calibrate(np.array(scores))
    old = predictor.card
    replace(
        old,
        threshold=calibration.threshold,
        scale=calibration.scale,
        detector={**old.detector, "calibration": asdict(calibration)},
    ).write(model_dir)
    get_logger().info(
        f"{model_dir}: threshold {calibration.threshold:.5f} in place of {old.threshold:.5f}; "
        f"{calibration.note}"
    )
    return calibration
