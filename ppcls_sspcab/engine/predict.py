"""Scoring a user's pictures with a trained detector, as ``predict`` does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.config.schema import InferSection
from ppcls_sspcab.config.settled import refuse_settled
from ppcls_sspcab.detector.detector import Detector
from ppcls_sspcab.detector.file import load_detector
from ppcls_sspcab.detector.predict import predict
from ppcls_sspcab.engine.device import use_device
from ppcls_sspcab.errors import ConfigError, UserError
from ppcls_sspcab.fitting.versions import warn_of_mixture
from ppcls_sspcab.image.maps import MapWriter
from ppcls_sspcab.image.sources import find_pictures
from ppcls_sspcab.registry import POSTPROCESSES
from ppcls_sspcab.result import Verdicts, opened, write_records
from ppcls_sspcab.utils.logger import get_logger


def predict_by_file(
    path: str | os.PathLike[str],
    config: Config | None,
    inputs: Sequence[str],
    output: str | None = None,
    output_format: Literal["jsonl", "csv"] = "jsonl",
    threshold: float | None = None,
    save_maps: str | None = None,
) -> Verdicts:
    """:func:`predict_pictures` with a detector's file, for which no configuration is needed.

    Args:
        config: its device, plug-ins and section ``Infer`` count, and nothing else of it.
    """
    with nullcontext() if config is None else config.naming_files():
        if config is not None:
            config.load_plugins()
        use_device("auto" if config is None else config.Global.device)
        return predict_pictures(path, config, inputs, output, output_format, threshold, save_maps)


def predict_pictures(
    path: str | os.PathLike[str],
    config: Config | None,
    inputs: Sequence[str],
    output: str | None = None,
    output_format: Literal["jsonl", "csv"] = "jsonl",
    threshold: float | None = None,
    save_maps: str | None = None,
) -> Verdicts:
    """Scores pictures and writes one record each.

    Args:
        path: the detector's file.
        config: its section ``Infer`` gives batch size, post-process, and the pictures where
            ``inputs`` names none; keys that the detector has settled are refused.
        inputs: files, folders, globs, ``.txt`` lists.
        output: file for the records; default standard output.
        threshold: instead of the calibrated one.
        save_maps: folder for the anomaly maps, three pictures each; it is not searched.

    Returns:
        how many were judged good, anomalous, and not at all.
    """
    infer = InferSection() if config is None else config.Infer
    given = inputs or ([infer.infer_imgs] if infer.infer_imgs else [])
    if not given:
        raise ConfigError("Infer.infer_imgs", "give pictures, here or on the command line")
    paths = find_pictures(given, without=[Path(save_maps)] if save_maps else [])
    detector = load_detector(path)
    if config is not None:
        refuse_settled(config, detector.card.settings)
        if Path(path) == config.folder.detector:
            warn_of_mixture(config.folder, config.inference_folder, detector.card)
    postprocess = POSTPROCESSES.build(
        infer.PostProcess or {"name": "AnomalyDecision"},
        "Infer.PostProcess",
        threshold=float(detector.threshold) if threshold is None else threshold,
        scale=float(detector.scale),
    )
    maps = None if save_maps is None else _map_writer(detector, save_maps, paths)
    preprocess = detector.card.preprocess
    verdicts = Verdicts()
    with opened(output) as stream:
        records = predict(detector, preprocess, paths, infer.batch_size, postprocess, maps)
        for record in write_records(records, stream, output_format):
            verdicts.add(record)
    place = f"; records in {output}" if output else ""
    get_logger().info(f"{len(paths)} pictures: {verdicts}{place}")
    return verdicts


def _map_writer(detector: Detector, folder: str, paths: Sequence[str]) -> MapWriter:
    if detector.localizer is None:
        raise UserError(
            "--save-maps: this detector makes no maps: train it with Localize, such as "
            "{name: FeatureGaussian}"
        )
    return MapWriter(folder, paths, detector.card.preprocess.white)
