"""``eval --report``: one HTML file that shows an evaluation and needs nothing beside itself."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.evaluation.page import render
from ppcls_sspcab.evaluation.plots import histogram_figure, precision_recall_figure, roc_figure
from ppcls_sspcab.evaluation.results import METRICS, Results
from ppcls_sspcab.evaluation.tables import (
    DEFECT_HEADER,
    METRIC_HEADER,
    THRESHOLD_HEADER,
    THRESHOLD_NOTE,
    TWO_THRESHOLDS,
    defect_rows,
    meanings,
    metric_rows,
    summary,
    synthetic_auroc,
    threshold_rows,
)
from ppcls_sspcab.image.drawing import FOUND, TRUTH, contour, overlay
from ppcls_sspcab.paths import RunFolder
from ppcls_sspcab.utils.files import atomic_write
from ppcls_sspcab.utils.table import flat

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

# Widths of one picture in pixels, and up to how many pictures: a page of 2000 stays near 20 MB.
WIDTHS = ((300, 200), (1000, 152), (None, 112))
JPEG_QUALITY = 80
PLOTS = (histogram_figure, roc_figure, precision_recall_figure)
GAP = 4  # white pixels between the views of a picture


class Report:
    """Collects small pictures while an evaluation runs, then writes ``report.html``.

    Args:
        store: the test pictures, in the order of the results' records.
    """

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self._width = next(width for limit, width in WIDTHS if limit is None or len(store) <= limit)
        self._strips: dict[int, dict[str, Any]] = {}

    def look(self, index: int, anomaly_map: np.ndarray | None, mask: np.ndarray | None) -> None:
        """Keeps one picture: itself, its map over it, and contours of what is found and true.

        Args:
            index: number of the picture in the store.
            anomaly_map: float32 [H, W] in [0, 1]; None without a localizer.
            mask: bool [H, W], the true pixels; None where nobody marked them.
        """
        pixels = outlined = self._store[index]
        views = [pixels]
        if anomaly_map is not None:
            views.append(overlay(pixels, anomaly_map))
            outlined = contour(outlined, anomaly_map > 0.5, FOUND)
        if mask is not None and mask.any():
            outlined = contour(outlined, mask, TRUTH)
        if outlined is not pixels:
            views.append(outlined)
        found = None if anomaly_map is None else bool((anomaly_map > 0.5).any())
        self._strips[index] = {**_strip(views, self._width), "found": found}

    def write(self, results: Results, folder: RunFolder) -> Path:
        """Writes the page and returns its path."""
        pictures = [
            {
                # In MVTec's layout test/<defect>/<name>.
                "name": "/".join(Path(record["path"]).parts[-3:]),
                "bad": bool(record["label"]),
                "called": bool(record["is_anomaly"]),
                "defect": str(record["defect"]),
                "score": record["score"],
                "normalized": record["normalized_score"],
                **self._strips[index],
            }
            for index, record in enumerate(results.records)
        ]
        page = render(
            __package__,
            "report.html.j2",
            results=results,
            summary=summary(results),
            figures=_figures(results),
            plots=[_svg(draw(results)) for draw in _plots_of(results)],
            metric_header=METRIC_HEADER,
            metrics=metric_rows(results),
            meanings=dict(meanings(results)),
            two_thresholds=TWO_THRESHOLDS,
            good_with_contours=sum(p["found"] is True and not p["called"] for p in pictures),
            called_without=sum(p["found"] is False and p["called"] for p in pictures),
            defect_header=DEFECT_HEADER,
            defects=defect_rows(results),
            threshold_note=THRESHOLD_NOTE.replace("`", ""),
            threshold_header=THRESHOLD_HEADER,
            thresholds=threshold_rows(results),
            found=FOUND,
            truth=TRUTH,
            protocol=[(name, flat(value)) for name, value in results.protocol.items()],
            pictures=pictures,
        )
        atomic_write(folder.report, page)
        return folder.report


def _strip(views: Sequence[np.ndarray], width: int) -> dict[str, Any]:
    """Views side by side as one JPEG, base64 text, with its size in pixels."""
    height = max(1, round(width * views[0].shape[0] / views[0].shape[1]))
    strip = Image.new("RGB", (len(views) * (width + GAP) - GAP, height), "white")
    for number, view in enumerate(views):
        small = Image.fromarray(view).resize((width, height), Image.Resampling.BILINEAR)
        strip.paste(small, (number * (width + GAP), 0))
    stream = io.BytesIO()
    strip.save(stream, "JPEG", quality=JPEG_QUALITY)
    encoded = base64.b64encode(stream.getvalue()).decode("ascii")
    return {"jpeg": encoded, "width": strip.width, "height": strip.height}


def _plots_of(results: Results) -> Sequence[Callable[[Results], Figure]]:
    """Curves need good and bad pictures."""
    return PLOTS if results.counts["good"] and results.counts["bad"] else (histogram_figure,)


def _figures(results: Results) -> dict[str, float]:
    """The figures at the top of the page, by their titles."""
    names = ("image_auroc", "detection_rate", "false_alarm_rate", "f1")
    values = {METRICS[name]: getattr(results, name) for name in names}
    if results.pixel is not None:
        values |= {"pixel AUROC": results.pixel.pixel_auroc, "AUPRO": results.pixel.aupro}
    if not results.counts["bad"]:
        values["AUROC on synthetic defects"] = synthetic_auroc(results)
    return {name: value for name, value in values.items() if not math.isnan(value)}


def _svg(figure: Figure) -> Markup:
    """The drawing as an element that scales with the page."""
    from markupsafe import Markup

    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return Markup(text[text.index("<svg") :])
