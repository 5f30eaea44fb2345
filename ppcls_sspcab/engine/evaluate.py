"""Measuring the detector of one category, and the files about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.config.settled import refuse_settled
from ppcls_sspcab.data.build import build_dataset, open_store
from ppcls_sspcab.detector.detector import Detector
from ppcls_sspcab.detector.file import load_detector
from ppcls_sspcab.engine.hold import held
from ppcls_sspcab.errors import DataError
from ppcls_sspcab.evaluation.evaluate import evaluate
from ppcls_sspcab.evaluation.plots import write_plots
from ppcls_sspcab.evaluation.report import Report
from ppcls_sspcab.evaluation.results import Results
from ppcls_sspcab.evaluation.tables import to_markdown, write_results
from ppcls_sspcab.fitting.versions import warn_of_mixture
from ppcls_sspcab.utils.distributed import is_first
from ppcls_sspcab.utils.logger import get_logger


def evaluate_category(
    config: Config,
    with_report: bool,
    detector: Detector | None = None,
    threshold: float | None = None,
) -> Results:
    """Measures a detector on the test pictures of its category.

    Writes the results and plots, prints the tables, and with ``with_report`` writes the page with
    all test pictures.

    Args:
        detector: instead of the one that the configuration names.
        threshold: instead of the calibrated one.

    Raises:
        DataError: no test pictures, or one that cannot be read.
        ModelError: no trained detector.
    """
    folder, run = config.folder, config.Global
    with config.naming_files():
        if detector is None:
            detector = load_detector(config.detector_to_use)
            warn_of_mixture(folder, config.inference_folder, detector.card, but=folder.results_json)
        refuse_settled(config, detector.card.settings)
        with held(folder.root), _threshold_of(detector, threshold):
            samples = build_dataset(config).test
            if not samples:
                raise DataError(f"{run.data_root}/{run.category}: no test pictures to measure on")
            preprocess = detector.card.preprocess
            store = open_store(samples, preprocess, run.cache_mb, run.on_error or "stop", "reading")
            report = Report(store) if with_report else None
            look = report.look if report else None
            card = detector.card
            if threshold is not None:
                protocol = {**card.protocol, "threshold_given": threshold}
                card = dataclasses.replace(card, protocol=protocol, calibration=None)
            results, embeddings = evaluate(detector, card, store, config, look)
            if not is_first():
                return results
            write_results(results, folder)
            write_plots(results, embeddings, folder)
            if report:
                get_logger().info(f"report in {report.write(results, folder)}")
    print(to_markdown(results))
    return results


@contextmanager
def _threshold_of(detector: Detector, threshold: float | None) -> Iterator[None]:
    """Inside the block the detector decides by another threshold, if one is given."""
    calibrated = detector.threshold.numpy()
    if threshold is not None:
        detector.threshold.set_value(np.asarray(threshold, np.float32))
    try:
        yield
    finally:
        detector.threshold.set_value(calibrated)
