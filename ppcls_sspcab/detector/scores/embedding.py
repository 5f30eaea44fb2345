"""The density of a pooled embedding: CutPaste (Li et al., CVPR 2021), section 2.1."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import paddle

from ppcls_sspcab.detector.batches import Mapped
from ppcls_sspcab.detector.scores.base import DensityFactory, Features, ImageScore
from ppcls_sspcab.registry import IMAGE_SCORES


@IMAGE_SCORES.register_as("embedding")
class EmbeddingScore(ImageScore):
    """The density's score of the mean-pooled embedding, as the paper has it."""

    needs = ("embedding",)

    def __init__(self, density: DensityFactory) -> None:
        super().__init__()
        self.density = density()

    def fit_batches(self, batches: Iterable[Mapping[str, np.ndarray]]) -> None:
        self.density.fit_batches(Mapped(lambda found: found[self.needs[0]], batches))

    def forward(self, features: Features, anomaly_map: paddle.Tensor | None) -> paddle.Tensor:
        return self.density(features[self.needs[0]])


@IMAGE_SCORES.register_as("embedding_max")
class EmbeddingMaxScore(EmbeddingScore):
    """The density's score of the max-pooled embedding: a small defect is not averaged away."""

    needs = ("embedding_max",)
