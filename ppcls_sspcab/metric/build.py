"""The metrics of a configuration."""

from __future__ import annotations

from typing import Any

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.config.items import list_item
from ppcls_sspcab.registry import METRICS


def build_metrics(config: Config) -> dict[str, Any]:
    """The registered metrics that section ``Metric.Eval`` names, by name."""
    metrics = {}
    for index, section in enumerate(config.Metric.Eval or []):
        name, _ = list_item(section, f"Metric.Eval.{index}")
        metrics[name] = METRICS.get(name, f"Metric.Eval.{index}")
    return metrics
