"""A new threshold for an exported model, by good pictures from where it works."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np

from ppcls_sspcab.detector.threshold.calibration import Calibration
from ppcls_sspcab.detector.threshold.doubts import standing_apart, warn_of_doubts
from ppcls_sspcab.detector.threshold.target_fpr import TargetFPR
from ppcls_sspcab.errors import ConfigError, DataError, ModelError
from ppcls_sspcab.image.content import contents_of
from ppcls_sspcab.image.sources import find_pictures
from ppcls_sspcab.paths import LOCK_FILE
from ppcls_sspcab.result import Result
from ppcls_sspcab.runtime.card import InferenceCard
from ppcls_sspcab.runtime.predictor import Backend, Predictor
from ppcls_sspcab.utils.lock import folder_lock
from ppcls_sspcab.utils.logger import get_logger


def calibrate(
    model_dir: str | os.PathLike[str],
    good: str,
    target_fpr: float = 0.05,
    backend: Backend | Literal["auto"] = "auto",
    precision: Literal["fp32", "int8"] = "fp32",
    on_error: Literal["stop", "skip"] = "stop",
) -> Calibration:
    """Rewrites ``threshold`` and ``scale`` in ``inference.yml``, and nothing else of the model.

    Copies of a picture count once, and pictures that the model was trained on or fitted to are
    left out: it scores them better than new ones. They are known by the bytes of their files, so
    that one which was saved anew is a new one.

    The graph keeps the normalised score of the export, so the records and
    :meth:`~ppcls_sspcab.runtime.predictor.Predictor.outputs` take theirs from ``inference.yml``.
    Needs no Paddle with the backends ``onnx`` and ``openvino``.

    Args:
        model_dir: folder that ``export`` wrote.
        good: folder, file, glob or ``.txt`` list of good pictures that the network was not
            trained on.
        target_fpr: share of good pictures that may be called anomalies, in (0, 1).
        backend, precision: what runs the model, as it will at the line: each precision has a
            threshold of its own.
        on_error: what an unreadable picture does: ``stop``, or ``skip`` and be named in the log.

    Raises:
        ConfigError: ``target_fpr`` outside (0, 1).
        DataError: fewer than two new pictures, or one that cannot be read.
        ModelError: a missing or changed file, a folder that was replaced in the meantime, or
            scores that are no numbers.
        OutputError: 'train', 'refit' or another run holds the folder of the category.
    """
    try:
        method = TargetFPR(target_fpr)
    except ValueError as error:
        raise ConfigError("--target-fpr", str(error)) from error
    paths = find_pictures([good])
    predictor = Predictor(model_dir, backend, precision=precision)
    old = predictor.card
    found = _judged(predictor, _new_to(old, paths, str(model_dir)), on_error)
    scores = np.array([record.score for record in found])
    calibration = method.calibrate(scores)
    threshold, scale = calibration.threshold, calibration.scale
    new = old.calibrated(precision, asdict(calibration), threshold, scale)
    with _held(Path(model_dir)):
        if InferenceCard.read(model_dir) != old:
            raise ModelError(f"{model_dir}: was replaced while it was calibrated: calibrate again")
        new.write(model_dir)
    get_logger().info(
        f"{model_dir}: threshold {calibration.threshold:.5f} in place of "
        f"{old.judging(precision)['threshold']:.5f}; "
        f"{calibration.note}"
    )
    apart = [found[index].path for index in standing_apart(scores)]
    warn_of_doubts(str(model_dir), calibration, apart)
    return calibration


def _held(model: Path) -> AbstractContextManager[None]:
    """No run replaces the model meanwhile, where it lies in the folder of a category."""
    category = model.absolute().parent
    return folder_lock(category) if (category / LOCK_FILE).exists() else nullcontext()


def _new_to(card: InferenceCard, paths: Sequence[str], model: str) -> list[str]:
    """The first of each of the different pictures that a model was not made from."""
    known = {str(content) for content in card.made_from}
    different: dict[str, str] = {}
    for path, content in zip(paths, contents_of(paths), strict=True):
        different.setdefault(content, path)
    new = [path for content, path in different.items() if content not in known]
    if copies := len(paths) - len(different):
        get_logger().warning(f"{copies} of {len(paths)} pictures are copies: each is used once")
    if left_out := len(different) - len(new):
        text = (
            f"{left_out} of {len(different)} pictures are among those that {model} was trained on "
            "or fitted to, which it scores better than new ones"
        )
        if not new:
            raise DataError(f"{text}: give other good pictures; nothing was changed")
        get_logger().warning(f"{text}: they are left out")
    return new


def _judged(
    predictor: Predictor, paths: Sequence[str], on_error: Literal["stop", "skip"]
) -> list[Result]:
    """The records of the pictures that can be read."""
    found: list[Result] = []
    for record in predictor.stream(paths):
        if isinstance(record, Result):
            found.append(record)
        elif on_error == "stop":
            raise DataError(f"{record.path}: {record.error}; nothing was changed")
        else:
            get_logger().warning(f"skipped {record.path}: {record.error}")
    return found
