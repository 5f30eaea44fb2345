"""Two detectors of one network on the same pictures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.data.build import build_dataset, build_store
from ppcls_sspcab.data.samples import Sample
from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.detector.accelerated import accelerated
from ppcls_sspcab.detector.detector import Detector
from ppcls_sspcab.errors import DataError
from ppcls_sspcab.fitting.run import stored_image_scores
from ppcls_sspcab.utils.logger import get_logger


def tested_groups(config: Config) -> dict[str, list[Sample]]:
    """The good and the bad test pictures of a configuration, as far as there are some."""
    try:
        samples = build_dataset(config).test
    except DataError:
        return {}
    return {
        f"{kind} test pictures": [sample for sample in samples if sample.label == label]
        for label, kind in enumerate(("good", "bad"))
    }


def alarms_before_and_after(
    before: Detector, after: Detector, config: Config, groups: Mapping[str, list[Sample]]
) -> dict[str, dict[str, int]]:
    """How many pictures of each group two detectors call anomalies; said in the log, too.

    Args:
        groups: pictures by what they are; an empty group is left out.

    Returns:
        ``{"pictures": ..., "before": ..., "after": ...}`` of each group.
    """
    stores = {
        name: build_store(config, samples, f"reading {name}", before.card.preprocess)
        for name, samples in groups.items()
        if samples
    }
    calls = [_alarms(detector, config, stores) for detector in (before, after)]
    found = {
        name: {"pictures": len(store), "before": calls[0][name], "after": calls[1][name]}
        for name, store in stores.items()
    }
    for name, counts in found.items():
        get_logger().info(
            f"{config.Global.category}: of {counts['pictures']} {name} are called anomalies: "
            f"{counts['before']} before, {counts['after']} after"
        )
    return found


def _alarms(detector: Detector, config: Config, stores: Mapping[str, ImageStore]) -> dict[str, int]:
    batch_size = config.DataLoader.Eval.sampler.batch_size
    with accelerated(detector):
        scores = {
            name: stored_image_scores(detector, store, batch_size, f"scoring {name}")
            for name, store in stores.items()
        }
    return {name: int(np.sum(found > float(detector.threshold))) for name, found in scores.items()}
