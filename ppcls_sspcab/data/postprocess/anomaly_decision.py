"""From the Detector's output to the records that a user reads (section ``Infer.PostProcess``)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ppcls_sspcab.registry import POSTPROCESSES
from ppcls_sspcab.result import Failure, Result, check_threshold, judge


@POSTPROCESSES.register
class AnomalyDecision:
    """One verdict a picture: score, normalised score, and whether it is above the threshold.

    Args:
        threshold: in the unit of the score; given by the Detector unless the YAML sets it.
        scale: of the normalised score, above 0; given by the Detector.

    Raises:
        ValueError: a threshold that is no finite number, or a scale that is not above 0.
    """

    def __init__(self, threshold: float, scale: float) -> None:
        if not 0 < scale < math.inf:
            raise ValueError(f"scale must be a number above 0, not {scale}")
        self.threshold = check_threshold(threshold)
        self.scale = scale

    def __call__(
        self, paths: Sequence[str], outputs: Mapping[str, np.ndarray]
    ) -> list[Result | Failure]:
        """Judges a batch.

        Args:
            paths: names of the N pictures.
            outputs: what ``Detector.forward`` returned, as numpy arrays; ``score`` [N], and
                ``map`` [N, H, W] of a detector that has one.
        """
        maps = outputs["map"] if "map" in outputs else [None] * len(paths)
        return [
            judge(path, float(score), self.threshold, self.scale, anomaly_map)
            for path, score, anomaly_map in zip(paths, outputs["score"], maps, strict=True)
        ]
