"""The weighted sum of losses, with the section and the results of PaddleClas's CombinedLoss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import paddle
from paddle import nn

from ppcls_sspcab.arguments import check_type
from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.registry import LOSSES

LARGEST_WEIGHT = 1e6


class CombinedLoss(nn.Layer):
    """Sums losses; each is reported as it enters the sum, multiplied by its weight.

    So it is in PaddleClas, except that there a loss that stands alone ignores its weight.

    Args:
        sections: as in a YAML, ``[{"CELoss": {"weight": 1.0}}, {"SSPCABLoss": {"weight": 0.1}}]``;
            what stands beside ``weight`` goes to the loss's constructor.

    Raises:
        ConfigError: no section, an unknown loss or argument, a loss named twice, or a weight that
            is missing or out of range.
    """

    def __init__(self, sections: list[dict[str, Any]]) -> None:
        super().__init__()
        key = "Loss.Train"
        if not isinstance(sections, (list, tuple)) or not sections:
            raise ConfigError(key, f"must be a list of losses with their weights, not {sections!r}")
        self.weights: dict[str, float] = {}
        self.losses = nn.LayerList()
        for number, section in enumerate(sections):
            self._add(section, f"{key}.{number}")

    def forward(self, output: dict[str, Any], label: paddle.Tensor) -> dict[str, paddle.Tensor]:
        """
        Args:
            output: what the architecture returned.
            label: int64 [N, 1].

        Returns:
            One weighted scalar under each loss's name, and their sum as ``loss``.
        """
        parts = {}
        for loss, (name, weight) in zip(self.losses, self.weights.items(), strict=True):
            (value,) = loss(output, label).values()
            parts[name] = value * weight
        first, *others = parts.values()
        return {**parts, "loss": sum(others, first)}

    def _add(self, section: Any, key: str) -> None:
        if not isinstance(section, Mapping) or len(section) != 1:
            raise ConfigError(key, f"must be one loss, as in 'CELoss: {{weight: 1}}': {section!r}")
        ((name, arguments),) = section.items()
        key = f"{key}.{name}"
        LOSSES.get(name, key)
        if name in self.weights:
            raise ConfigError(key, "is named a second time")
        if not isinstance(arguments, Mapping) or "weight" not in arguments:
            raise ConfigError(f"{key}.weight", "is required and not set")
        rest = dict(arguments)
        weight = rest.pop("weight")
        check_type(weight, float, f"{key}.weight")
        if not 0 <= weight <= LARGEST_WEIGHT:
            raise ConfigError(f"{key}.weight", f"must lie in 0..{LARGEST_WEIGHT:g}, not {weight}")
        self.losses.append(LOSSES.build({**rest, "name": name}, key))
        self.weights[name] = float(weight)
