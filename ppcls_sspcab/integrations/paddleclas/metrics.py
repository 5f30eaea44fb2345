"""Metrics and post-process for PaddleClas classifiers whose class 0 is the good part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F

from ppcls_sspcab.data.postprocess import anomaly_decision
from ppcls_sspcab.registry import METRICS


def anomaly_score(logits: Any) -> np.ndarray:
    """1 minus the probability of class 0; logits float [N, K] (or a dict that has them) -> [N]."""
    logits = logits["logits"] if isinstance(logits, dict) else logits
    return 1.0 - F.softmax(logits.astype("float32"), axis=-1).numpy()[:, 0]


def metric_named(name: str) -> type:
    """The class that PaddleClas finds as an item of ``Metric.Eval``; any label but 0 is bad."""
    measure = METRICS.get(name)

    class ScoreMetric(paddle.nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.reset()

        def reset(self) -> None:
            self._labels: list[np.ndarray] = []
            self._scores: list[np.ndarray] = []

        def forward(self, logits: Any, label: paddle.Tensor) -> dict[str, float]:
            self._labels.append((label.numpy().reshape(-1) != 0).astype(np.int64))
            self._scores.append(anomaly_score(logits))
            return {name: self.avg}

        @property
        def avg(self) -> float:
            return float(measure(np.concatenate(self._labels), np.concatenate(self._scores)))

        @property
        def avg_info(self) -> str:
            return f"{name}: {self.avg:.5f}"

    ScoreMetric.__name__ = ScoreMetric.__qualname__ = name
    ScoreMetric.__doc__ = measure.__doc__
    return ScoreMetric


class AnomalyDecision:
    """Verdicts by the probability of being bad.

    With ``eval_mode: anomaly`` the detector's own threshold and scale are taken instead.

    Args:
        threshold: of the probability, 0 to 1.
        scale: of the normalised score.
    """

    def __init__(self, threshold: float = 0.5, scale: float = 1.0) -> None:
        self._decide = anomaly_decision.AnomalyDecision(threshold, scale)

    def __call__(self, logits: Any, file_names: Sequence[str]) -> list[dict[str, Any]]:
        """One dict a picture; logits float [N, K]."""
        records = self._decide(list(file_names), {"score": anomaly_score(logits)})
        return [vars(record) for record in records]
