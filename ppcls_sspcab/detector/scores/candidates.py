"""Image scores of which one will be chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppcls_sspcab.detector.scores.base import DensityFactory, ImageScore
from ppcls_sspcab.detector.scores.composite import CompositeScore, named_section
from ppcls_sspcab.registry import IMAGE_SCORES


@IMAGE_SCORES.register_as("auto")
class ScoreCandidates(CompositeScore):
    """Several image scores fitted side by side, of which held-out pictures choose one.

    Until then its score is that of the first.

    Args:
        scores: names or sections of the candidates.
    """

    def __init__(
        self,
        density: DensityFactory,
        network: nn.Layer,
        image_size: list[int],
        scores: list[str | dict[str, Any]],
    ) -> None:
        super().__init__(density, network, image_size, scores, "Score.scores")
        self.learns_weights = any(member.learns_weights for member in self.members)
        self._names = candidate_names([named_section(one, "Score.scores") for one in scores])

    def candidates(self, parts: np.ndarray) -> dict[str, tuple[ImageScore, np.ndarray]]:
        ends = np.cumsum([member.part_count for member in self.members])
        columns = np.split(parts, ends[:-1], axis=1)
        return dict(zip(self._names, zip(self.members, columns, strict=True), strict=True))

    def standardize(self, parts: np.ndarray) -> None:
        for member, columns in self.candidates(parts).values():
            member.standardize(columns)

    def learn_weights(self, good_parts: np.ndarray, bad_parts: np.ndarray) -> None:
        found = (self.candidates(parts).values() for parts in (good_parts, bad_parts))
        for (member, good), (_, bad) in zip(*found, strict=True):
            member.learn_weights(good, bad)

    def combine(self, parts: paddle.Tensor) -> paddle.Tensor:
        return self.members[0].combine(parts[:, : self.members[0].part_count])


def candidate_names(sections: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for each candidate: its score's, with its arguments where several have that."""
    names = [section["name"] for section in sections]
    return [
        name if names.count(name) == 1 else _with_arguments(section)
        for name, section in zip(names, sections, strict=True)
    ]


def _with_arguments(section: Mapping[str, Any]) -> str:
    """``fused(place_gaussian(rank=8), logit)``, ``map_max(top=9)``."""
    parts = [
        part if isinstance(part, str) else _with_arguments(part)
        for part in section.get("parts", [])
    ]
    others = [f"{key}={value}" for key, value in section.items() if key not in ("name", "parts")]
    within = ", ".join([*parts, *others])
    return f"{section['name']}({within})" if within else section["name"]
