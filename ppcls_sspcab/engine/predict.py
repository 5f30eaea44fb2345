"""Scoring a user's pictures with a trained detector, as ``predict`` does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.detector.accelerated import accelerated
from ppcls_sspcab.detector.detector import Detector
from ppcls_sspcab.detector.file import load_detector
from ppcls_sspcab.detector.predict import predict
from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.image.maps import MapWriter
from ppcls_sspcab.image.sources import find_pictures
from ppcls_sspcab.registry import POSTPROCESSES
from ppcls_sspcab.result import Result, opened, write_records
from ppcls_sspcab.utils.logger import get_logger


def predict_pictures(
    config: Config,
    inputs: Sequence[str],
    output: str | None = None,
    output_format: Literal["jsonl", "csv"] = "jsonl",
    threshold: float | None = None,
    save_maps: str | None = None,
) -> bool:
    """Scores pictures and writes one record each.

    Args:
        config: of one category.
        inputs: files, folders, globs, ``.txt`` lists.
        output: file for the records; default standard output.
        threshold: instead of the calibrated one.
        save_maps: folder for the anomaly maps, three pictures each.

    Returns:
        whether an anomaly was found.
    """
    paths = find_pictures(inputs)
    detector = load_detector(config.detector_to_use)
    with config.naming_files():
        postprocess = POSTPROCESSES.build(
            config.Infer.PostProcess or {"name": "AnomalyDecision"},
            "Infer.PostProcess",
            threshold=float(detector.threshold) if threshold is None else threshold,
            scale=float(detector.scale),
        )
    maps = None if save_maps is None else _map_writer(detector, save_maps, paths)
    counts: Counter[str] = Counter(good=0, anomalous=0, unreadable=0)
    with accelerated(detector), opened(output) as stream:
        records = predict(detector, paths, config.Infer.batch_size, postprocess, maps)
        for record in write_records(records, stream, output_format):
            if isinstance(record, Result):
                counts["anomalous" if record.is_anomaly else "good"] += 1
            else:
                counts["unreadable"] += 1
    text = ", ".join(f"{count} {name}" for name, count in counts.items())
    place = f"; records in {output}" if output else ""
    get_logger().info(f"{len(paths)} pictures: {text}{place}")
    return counts["anomalous"] > 0


def _map_writer(detector: Detector, folder: str, paths: Sequence[str]) -> MapWriter:
    if detector.localizer is None:
        raise ConfigError(
            "--save-maps",
            "this detector makes no maps: train it with Localize, such as {name: FeatureGaussian}",
        )
    return MapWriter(folder, paths)
