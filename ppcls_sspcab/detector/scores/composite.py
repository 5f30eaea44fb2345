"""Image scores that are made of other image scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppcls_sspcab.detector.scores.base import DensityFactory, Features, ImageScore
from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.registry import IMAGE_SCORES


def named_section(item: str | Mapping[str, Any], key: str) -> dict[str, Any]:
    """A score that a list names, as a section: ``logit`` is ``{name: logit}``.

    Raises:
        ConfigError: it is neither a name nor a section with one.
    """
    if isinstance(item, str):
        return {"name": item}
    if not isinstance(item, Mapping) or not isinstance(item.get("name"), str):
        raise ConfigError(key, "must be the name of a score, or a section with a name")
    return dict(item)


def score_written_out(section: Mapping[str, Any]) -> dict[str, Any]:
    """A section ``Score`` with all its arguments, those of its ``parts``, too."""
    found = IMAGE_SCORES.written_out(section, "Score")
    kind = IMAGE_SCORES.get(section["name"], "Score.name")
    if issubclass(kind, CompositeScore) and "parts" in found:
        parts = [named_section(part, "Score.parts") for part in found["parts"]]
        found["parts"] = [score_written_out(part) for part in parts]
    return found


class CompositeScore(ImageScore):
    """Runs several image scores on the same features; its parts are all of theirs.

    A subclass defines ``combine(parts)``, and ``standardize(parts)`` where the parts are to be
    brought to one scale.

    Args:
        density, network, image_size: what the members are built with.
        sections: of the members, names or ``{name: ..., argument: value}``.
        key: key of the sections in the configuration, for errors.

    Attributes:
        members: the scores, in the order of their sections.
    """

    def __init__(
        self,
        density: DensityFactory,
        network: nn.Layer,
        image_size: list[int],
        sections: Sequence[str | Mapping[str, Any]],
        key: str,
    ) -> None:
        super().__init__()
        known = {"density": density, "network": network, "image_size": image_size}
        self.members = nn.LayerList(
            [
                IMAGE_SCORES.build(
                    named_section(section, f"{key}.{index}"), f"{key}.{index}", **known
                )
                for index, section in enumerate(sections)
            ]
        )
        self.needs = tuple(sorted({name for member in self.members for name in member.needs}))
        self.needs_map = any(member.needs_map for member in self.members)

    @property
    def part_count(self) -> int:
        return sum(member.part_count for member in self.members)

    @property
    def uses_held_out(self) -> bool:
        return super().uses_held_out or any(member.uses_held_out for member in self.members)

    def fit_batches(self, batches: Iterable[Mapping[str, np.ndarray]]) -> None:
        for member in self.members:
            member.fit_batches(batches)

    def forward(self, features: Features, anomaly_map: paddle.Tensor | None) -> paddle.Tensor:
        return self.combine(self.parts(features, anomaly_map))

    def parts(self, features: Features, anomaly_map: paddle.Tensor | None) -> paddle.Tensor:
        found = [member.parts(features, anomaly_map) for member in self.members]
        return paddle.concat(found, axis=-1)
