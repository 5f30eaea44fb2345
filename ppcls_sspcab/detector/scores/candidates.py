"""Image scores of which one will be chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppcls_sspcab.detector.scores.base import DensityFactory, Features, ImageScore
from ppcls_sspcab.registry import IMAGE_SCORES


@IMAGE_SCORES.register_as("auto")
class ScoreCandidates(ImageScore):
    """Several image scores fitted side by side; as a score, it is the first of them.

    It only lives until one is chosen.

    Args:
        density, network, image_size: what the candidates are built with.
        scores: sections of the candidates, each of another name.
    """

    name = "auto"

    def __init__(
        self,
        density: DensityFactory,
        network: nn.Layer,
        image_size: list[int],
        scores: list[dict[str, Any]],
    ) -> None:
        super().__init__({})
        known = {"density": density, "network": network, "image_size": image_size}
        members = [
            IMAGE_SCORES.build(section, f"Score.scores.{index}", **known)
            for index, section in enumerate(scores)
        ]
        self.members = nn.LayerList(members)
        self.needs = tuple(sorted({name for member in members for name in member.needs}))
        self.needs_map = any(member.needs_map for member in members)

    def candidates(self) -> list[ImageScore]:
        return list(self.members)

    def fit(self, features: Mapping[str, np.ndarray]) -> None:
        for member in self.members:
            member.fit(features)

    def align(self, parts: np.ndarray) -> None:
        for member, columns in zip(self.members, self.split(parts), strict=True):
            member.align(columns)

    def parts(self, features: Features, anomaly_map: paddle.Tensor | None) -> paddle.Tensor:
        found = [member.parts(features, anomaly_map) for member in self.members]
        return paddle.concat(found, axis=-1)

    def combine(self, parts: paddle.Tensor) -> paddle.Tensor:
        return self.members[0].combine(parts[:, : self.members[0].part_count])

    @property
    def part_count(self) -> int:
        return sum(member.part_count for member in self.members)

    def split(self, parts: np.ndarray) -> list[np.ndarray]:
        ends = np.cumsum([member.part_count for member in self.members])
        return np.split(parts, ends[:-1], axis=1)
