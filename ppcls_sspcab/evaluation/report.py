"""``eval --report``: one HTML file that shows an evaluation and needs nothing beside itself."""

from __future__ import annotations

import base64
import html
import io
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.evaluation.plots import histogram_figure, precision_recall_figure, roc_figure
from ppcls_sspcab.evaluation.report_page import PAGE, POLICY, SCRIPT, STYLE, html_table
from ppcls_sspcab.evaluation.results import Results, flat, number
from ppcls_sspcab.image.drawing import FOUND, TRUTH, contour, overlay
from ppcls_sspcab.utils.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Widths of one picture in pixels, and up to how many pictures: a page of 2000 stays near 20 MB.
WIDTHS = ((300, 200), (1000, 152), (None, 112))
JPEG_QUALITY = 80
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
        pixels = self._store[index]
        views = [pixels]
        outlined = pixels
        if anomaly_map is not None:
            views.append(overlay(pixels, anomaly_map))
            outlined = contour(outlined, anomaly_map > 0.5, FOUND)
        if mask is not None and mask.any():
            outlined = contour(outlined, mask, TRUTH)
        if outlined is not pixels or anomaly_map is not None:
            views.append(outlined)
        self._strips[index] = _strip(views, self._width)

    def write(self, results: Results, folder: str | os.PathLike[str]) -> Path:
        """Writes ``report.html`` into ``folder`` and returns its path."""
        pictures = [
            {
                "name": _short(record["path"]),
                "bad": bool(record["label"]),
                "called": bool(record["is_anomaly"]),
                "defect": str(record["defect"]),
                "score": record["score"],
                "normalized": record["normalized_score"],
                **self._strips[index],
            }
            for index, record in enumerate(results.records)
        ]
        page = PAGE.format(
            policy=POLICY,
            title=html.escape(f"{results.category or 'Results'}: anomaly detection"),
            style=STYLE,
            summary=html.escape(results.summary()),
            figures="".join(_figures(results)),
            plots="".join(_plots(results)),
            metrics=html_table(["metric", "value", "95 % interval"], results.metric_rows()),
            defects=html_table(
                ["defect", "pictures", "detected", "rate", "image AUROC"], _defects(results)
            ),
            key=_key(results.pixel is not None),
            protocol=html_table(
                ["what", "value"], [(name, flat(v)) for name, v in results.protocol.items()], 0
            ),
            # No text may end the script element that holds it.
            pictures=json.dumps(pictures, ensure_ascii=False).replace("<", "\\u003c"),
            script=SCRIPT,
        )
        path = Path(folder) / "report.html"
        atomic_write(path, page)
        return path


def _strip(views: Sequence[np.ndarray], width: int) -> dict[str, Any]:
    """Views side by side as one JPEG, base64 text, with its size in pixels."""
    height = max(1, round(width * views[0].shape[0] / views[0].shape[1]))
    strip = Image.new("RGB", (len(views) * (width + GAP) - GAP, height), "white")
    for number_, view in enumerate(views):
        small = Image.fromarray(view).resize((width, height), Image.Resampling.BILINEAR)
        strip.paste(small, (number_ * (width + GAP), 0))
    stream = io.BytesIO()
    strip.save(stream, "JPEG", quality=JPEG_QUALITY)
    encoded = base64.b64encode(stream.getvalue()).decode("ascii")
    return {"jpeg": encoded, "width": strip.width, "height": strip.height}


def _short(path: str) -> str:
    """The last three parts of a path: in MVTec's layout ``test/<defect>/<name>``."""
    return "/".join(Path(path).parts[-3:])


def _figures(results: Results) -> Iterable[str]:
    values = {
        "image AUROC": results.image_auroc,
        "detection rate": results.detection_rate,
        "false-alarm rate": results.false_alarm_rate,
        "F1": results.f1,
    }
    if results.pixel is not None:
        values |= {"pixel AUROC": results.pixel.pixel_auroc, "AUPRO": results.pixel.aupro}
    for name, value in values.items():
        yield f"<div><b>{number(value)}</b><span>{name}</span></div>"


def _plots(results: Results) -> Iterable[str]:
    for draw in (histogram_figure, roc_figure, precision_recall_figure):
        yield f'<div class="plot">{_svg(draw(results))}</div>'


def _svg(figure: Figure) -> str:
    """The drawing as an element that scales with the page."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]


def _defects(results: Results) -> list[tuple[str, ...]]:
    return [
        (
            name,
            str(defect.count),
            str(defect.detected),
            number(defect.detection_rate),
            number(defect.image_auroc),
        )
        for name, defect in results.per_defect.items()
    ]


def _key(has_map: bool) -> str:
    if not has_map:
        return "The score is on the scale of 0 to 1, with 0.5 at the threshold, in brackets."
    return (
        "Each: the picture; the anomaly map over it, on one scale for all pictures; contours of"
        f" {_swatch(FOUND)}what is found and {_swatch(TRUTH)}the true defect. In brackets the"
        " score on a scale of 0 to 1, with 0.5 at the threshold."
    )


def _swatch(colour: tuple[int, int, int]) -> str:
    return f'<i style="background: rgb{colour}"></i>'
