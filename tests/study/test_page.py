"""The chart of a study's page."""

from __future__ import annotations

import math

from ppcls_sspcab.study.page import _bar, _start
from ppcls_sspcab.study.rows import Row


def row_of(auroc: float, interval: tuple[float, float]) -> Row:
    unknown = dict.fromkeys(
        (
            *("image_auroc_std", "image_aupr", "detection_rate", "false_alarm_rate"),
            *(
                "pixel_auroc",
                "aupro",
                "seconds",
                "peak_memory_mb",
                "peak_gpu_memory_mb",
                "best_on_test",
            ),
        ),
        math.nan,
    )
    counts = {"done": 1, "planned": 1, "missed": 1, "bad": 9, "false_alarms": 0, "good": 20}
    return Row("full", "mean", image_auroc=auroc, interval=interval, **counts, **unknown)


def test_the_chart_shows_a_mean_that_no_resampling_changes() -> None:
    """A perfect AUROC leaves no interval to resample: its bar is the mark alone."""
    perfect = row_of(1.0, (math.nan, math.nan))
    assert _start([perfect, row_of(0.75, (0.62, 0.88))]) == 0.6
    assert _start([perfect]) == 0.9
    bar = _bar(perfect, 0.6)
    assert (bar["left"], bar["width"], bar["mark"]) == (100, 0, 100)
