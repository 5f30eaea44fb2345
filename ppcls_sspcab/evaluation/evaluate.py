"""Measuring a detector on test pictures: one pass, which keeps no anomaly map."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.data.masks import MaskError, true_mask
from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.detector.accelerated import accelerated
from ppcls_sspcab.detector.card import DetectorCard
from ppcls_sspcab.detector.detector import Detector
from ppcls_sspcab.detector.run import Outputs, detect, gather
from ppcls_sspcab.evaluation.results import Results, evaluate_scores
from ppcls_sspcab.fitting.run import run_store
from ppcls_sspcab.metric.build import build_metrics
from ppcls_sspcab.metric.pixel import PixelMeter
from ppcls_sspcab.utils.logger import get_logger

# Takes the number of a picture, its map (None without a localizer) and its mask (None: unknown).
Look = Callable[[int, np.ndarray | None, np.ndarray | None], None]


def evaluate(
    detector: Detector,
    card: DetectorCard,
    store: ImageStore,
    config: Config,
    look: Look | None = None,
) -> tuple[Results, np.ndarray]:
    """Measures a detector.

    Maps are compared with the masks at network resolution, where they are made.

    Args:
        store: the test pictures.
        look: called with every picture's map and mask, in order, for what else is made of them.

    Returns:
        the results, and the embeddings float32 [N, D].

    Raises:
        MaskError: a mask that cannot be its picture's, with ``Global.on_error: stop``; else it is
            named in the log and its picture left out of the pixel metrics.
    """
    meter = PixelMeter() if detector.localizer is not None else None
    size = config.DataLoader.Eval.sampler.batch_size
    with accelerated(detector):
        batches = run_store(partial(detect, detector), store, size, "scoring")
        stop = config.Global.on_error == "stop"
        found = gather(_without_maps(batches, store, meter, look, stop))
    threshold = float(detector.threshold)
    results = evaluate_scores(
        _records(store, found, threshold),
        threshold,
        config.Global.seed,
        {**card.protocol, **_calibration(card), "detector_version": card.version},
        build_metrics(config),
        meter.results() if meter is not None else None,
    )
    return results, found["embedding"]


def _calibration(card: DetectorCard) -> dict[str, Any]:
    """Entries of the protocol: what is known of the threshold's false alarms."""
    found = card.calibration
    if found is None:
        return {}
    return {
        "target_false_alarm_rate": found.target_fpr,
        "target_kept_on_the_average": found.guaranteed,
        "plausible_false_alarm_rate": found.plausible_fpr,
        "good_pictures_calibrated_on": found.good_pictures,
    }


def _without_maps(
    batches: Iterable[Outputs],
    store: ImageStore,
    meter: PixelMeter | None,
    look: Look | None,
    stop: bool,
) -> Iterator[Outputs]:
    """The batches without their maps, which are measured and looked at."""
    height, width = store.preprocess.image_size
    numbers = count()
    for batch in batches:
        maps = batch.pop("map", [None] * len(batch["score"]))
        for anomaly_map, number in zip(maps, numbers, strict=False):
            if meter is None and look is None:
                continue
            mask, unfit = None, False
            try:
                mask = true_mask(store.samples[number], (height, width))
            except MaskError as error:
                if stop:
                    raise
                unfit = True
                get_logger().warning(f"left out of the pixel metrics: {error}")
            if meter is not None:
                meter.add(anomaly_map, mask, unfit)
            if look is not None:
                look(number, anomaly_map, mask)
        yield batch


def _records(store: ImageStore, found: Outputs, threshold: float) -> list[dict[str, Any]]:
    return [
        {
            "path": sample.path,
            "label": sample.label,
            "defect": sample.defect,
            "score": float(score),
            "normalized_score": float(normalized),
            "is_anomaly": bool(score > threshold),
        }
        for sample, score, normalized in zip(
            store.samples, found["score"], found["normalized_score"], strict=True
        )
    ]
