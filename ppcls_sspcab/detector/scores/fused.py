"""Several image scores, fused."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import paddle
from paddle import nn

from ppcls_sspcab.detector.scores.base import DensityFactory
from ppcls_sspcab.detector.scores.composite import CompositeScore, named_section
from ppcls_sspcab.detector.threshold.calibration import spread
from ppcls_sspcab.registry import IMAGE_SCORES

# For learnt weights: what lies farther out is told apart anyhow, and should not settle them alone.
LARGEST_DEVIATION = 10.0
# Of the squared weights in the loss: parts that say the same share the weight.
PENALTY = 0.005
LEAST_WEIGHT = 1e-6


@IMAGE_SCORES.register_as("fused")
class FusedScore(CompositeScore):
    """A mean, or the maximum, of scores brought to one scale by good pictures.

    Each part becomes ``(part - median) / spread``, with the median and the robust spread of its
    values on good pictures that were not fitted to; real bad pictures are never looked at.

    Args:
        parts: names of scores, or sections with a ``name``.
        combine: ``mean``; ``max``: the largest part decides alone; or ``learnt``: a mean whose
            weights tell synthetic defects best from good pictures, where some are held out
            (:func:`learnt_weights`), and are equal where none are.

    Buffers, float32 [P]: ``median`` and ``spread``; ``weights``, which sum to 1.

    Raises:
        ValueError: fewer than two parts, or one that is ``fused`` itself.
    """

    median: paddle.Tensor
    spread: paddle.Tensor
    weights: paddle.Tensor

    def __init__(
        self,
        density: DensityFactory,
        network: nn.Layer,
        image_size: list[int],
        parts: list[str | dict[str, Any]],
        combine: Literal["mean", "max", "learnt"] = "mean",
    ) -> None:
        if len(parts) < 2:
            raise ValueError(f"parts must name at least two scores, not {parts}")
        for index, part in enumerate(parts):
            key = f"Score.parts.{index}"
            kind = IMAGE_SCORES.get(named_section(part, key)["name"], f"{key}.name")
            if issubclass(kind, CompositeScore):
                raise ValueError("a part cannot be made of several scores, as 'fused' is")
        super().__init__(density, network, image_size, parts, "Score.parts")
        self.declare(dict.fromkeys(("median", "spread", "weights"), (len(parts),)))
        self._by_max = combine == "max"
        self.learns_weights = combine == "learnt"

    def standardize(self, parts: np.ndarray) -> None:
        columns = np.asarray(parts, np.float64).T
        self.load_arrays(
            {
                "median": np.median(columns, axis=1),
                "spread": np.array([spread(column) for column in columns]),
                "weights": np.full(len(columns), 1 / len(columns)),
            }
        )

    def learn_weights(self, good_parts: np.ndarray, bad_parts: np.ndarray) -> None:
        if self.learns_weights:
            known = self.arrays()
            good, bad = (
                (parts - known["median"]) / known["spread"] for parts in (good_parts, bad_parts)
            )
            self.load_arrays(known | {"weights": learnt_weights(good, bad)})

    def combine(self, parts: paddle.Tensor) -> paddle.Tensor:
        deviations = (parts - self.median) / self.spread
        if self._by_max:
            return deviations.max(axis=-1)
        return (deviations * self.weights).sum(axis=-1)


def learnt_weights(good: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """Weights, not negative and with sum 1, whose weighted mean tells bad from good pictures best.

    By logistic regression, in which good and bad pictures count alike. A weight cannot be
    negative: no part may speak for a picture because it finds it anomalous.

    Args:
        good, bad: parts brought to one scale, float [N, P] and [M, P].

    Returns:
        float64 [P]; all alike where no part tells bad from good.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    sides = np.repeat([-1.0, 1.0], [len(good), len(bad)])
    shares = np.repeat([0.5 / len(good), 0.5 / len(bad)], [len(good), len(bad)])
    points = np.concatenate([good, bad]).clip(-LARGEST_DEVIATION, LARGEST_DEVIATION)
    points = np.column_stack([points, np.ones(len(points))])
    size = good.shape[1]

    def loss(found: np.ndarray) -> tuple[float, np.ndarray]:
        margins = sides * (points @ found)
        slopes = -shares * sides * expit(-margins)
        weights = np.append(found[:size], 0.0)
        value = shares @ np.logaddexp(0, -margins) + PENALTY * (weights @ weights)
        return value, slopes @ points + 2 * PENALTY * weights

    bounds = [(0.0, None)] * size + [(None, None)]
    start = np.append(np.full(size, 1 / size), 0.0)
    weights = minimize(loss, start, jac=True, bounds=bounds).x[:size]
    total = weights.sum()
    return weights / total if total > LEAST_WEIGHT else np.full(size, 1 / size)
