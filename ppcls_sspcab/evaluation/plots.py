"""Pictures of an evaluation: ROC curve, score histogram, t-SNE of the embeddings.

Matplotlib is loaded at the first plot and used without pyplot, so nothing global changes and no
display is needed. Colours are those of Okabe and Ito, told apart by colour-blind readers.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppcls_sspcab.errors import printable
from ppcls_sspcab.evaluation.results import Results
from ppcls_sspcab.paths import RunFolder
from ppcls_sspcab.utils.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GOOD, BAD, LINE, PALE = "#0072B2", "#D55E00", "#000000", "#8C8C8C"
DEFECT_COLOURS = ("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A4B00", "#000000")
DEFECT_MARKERS = ("^", "s", "D", "v", "P", "X", "*")
# t-SNE of more pictures takes minutes and shows no more.
MAX_TSNE_POINTS = 2000


def write_plots(results: Results, embeddings: np.ndarray, folder: RunFolder) -> list[Path]:
    """Writes ``plots/{roc,score_histogram,embedding_tsne}.png`` and returns their paths.

    Without good or without bad pictures there is no ROC curve, and one of before is removed.

    Args:
        results: with the records of the pictures.
        embeddings: float [N, D], in the order of the records.
    """
    plots = {"roc": roc_figure(results)} if all(results.counts[k] for k in ("good", "bad")) else {}
    if not plots:
        (folder.plots / "roc.png").unlink(missing_ok=True)
    plots |= {
        "score_histogram": histogram_figure(results),
        "embedding_tsne": tsne_figure(results, embeddings),
    }
    paths = []
    for name, figure in plots.items():
        path = folder.plots / f"{name}.png"
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=120)
        paths.append(path)
    return paths


def roc_figure(results: Results) -> Figure:
    """Detection rate against false-alarm rate, with the calibrated threshold's point."""
    from sklearn.metrics import roc_curve

    figure, axes = _square_axes("ROC", results)
    axes.set_xlabel(f"false-alarm rate ({results.counts['good']} good pictures)")
    axes.set_ylabel(f"detection rate ({results.counts['bad']} bad pictures)")
    labels, scores = _columns(results)
    if len(set(labels)) < 2:
        return _message(figure, axes, "A ROC curve needs good and bad test pictures.")
    alarms, hits, _ = roc_curve(labels, scores, drop_intermediate=False)
    low, high = results.intervals["image_auroc"]
    axes.plot([0, 1], [0, 1], color=PALE, linestyle=":", linewidth=1, label="by chance")
    curve = f"AUROC {results.image_auroc:.3f}  (95 %: {low:.3f} – {high:.3f})"
    axes.plot(alarms, hits, color=GOOD, linewidth=2, label=curve, clip_on=False)
    _calibrated(axes, results.false_alarm_rate, results.detection_rate)
    axes.legend(loc="lower right", frameon=True, framealpha=0.95)
    return figure


def precision_recall_figure(results: Results) -> Figure:
    """Precision against detection rate, with the calibrated threshold's point."""
    from sklearn.metrics import precision_recall_curve

    figure, axes = _square_axes("Precision and recall", results)
    axes.set_xlabel(f"detection rate ({results.counts['bad']} bad pictures)")
    axes.set_ylabel("precision: bad pictures among those called anomalies")
    labels, scores = _columns(results)
    if len(set(labels)) < 2:
        return _message(figure, axes, "Precision and recall need good and bad test pictures.")
    precision, recall, _ = precision_recall_curve(labels, scores)
    curve = f"AUPR {results.image_aupr:.3f}"
    axes.step(recall, precision, color=GOOD, linewidth=2, label=curve, where="post", clip_on=False)
    hits = results.counts["bad"] - results.counts["missed"]
    called = hits + results.counts["false_alarms"]
    if called:
        _calibrated(axes, results.detection_rate, hits / called)
    axes.legend(loc="lower left", frameon=True, framealpha=0.95)
    return figure


def histogram_figure(results: Results) -> Figure:
    """Scores of good and bad pictures, with the threshold.

    The score axis turns logarithmic where a few scores would crush all others into one bar.
    """
    figure, axes = _axes("Anomaly scores", results)
    labels, scores = _columns(results)
    edges = _bins(axes, scores, results.threshold)
    for label, colour, hatch, name in ((0, GOOD, "", "good"), (1, BAD, "///", "bad")):
        chosen = scores[labels == label]
        if len(chosen):
            counts = np.histogram(chosen, edges)[0]
            text = f"{name} ({len(chosen)})"
            axes.stairs(
                counts, edges, fill=True, linewidth=0, label=text,
                facecolor=colour, edgecolor="white", alpha=0.55, hatch=hatch,
            )  # fmt: skip
            axes.stairs(counts, edges, color=colour, linewidth=1.5)
    text = f"threshold {results.threshold:.4g}"
    axes.axvline(results.threshold, color=LINE, linestyle="--", linewidth=1.5, label=text)
    axes.set(xlabel="score", ylabel="pictures", xlim=(edges[0], edges[-1]))
    axes.locator_params(axis="y", integer=True)
    axes.set_ylim(bottom=0, top=1.08 * axes.dataLim.ymax)
    _legend_below(figure, axes)
    return figure


def tsne_figure(results: Results, embeddings: np.ndarray) -> Figure:
    """The embeddings in two dimensions, coloured by defect type.

    Neighbours stay neighbours; distances between far groups mean nothing.
    """
    figure, axes = _axes("Embeddings (t-SNE)", results)
    axes.set(xticks=[], yticks=[], xlabel="t-SNE 1", ylabel="t-SNE 2")
    embeddings = np.asarray(embeddings, np.float64)
    if len(embeddings) < 3:
        return _message(figure, axes, "t-SNE needs at least 3 pictures.")
    step = -(-len(embeddings) // MAX_TSNE_POINTS)
    points = tsne(embeddings[::step])
    kinds = np.array([row["defect"] if row["label"] else "good" for row in results.records[::step]])
    styles = [("good", "o", GOOD)] if "good" in kinds else []
    styles += [
        (name, DEFECT_MARKERS[number % 7], DEFECT_COLOURS[(number + number // 7) % 7])
        for number, name in enumerate(sorted(set(kinds) - {"good"}))
    ]
    for name, marker, colour in styles:
        x, y = points[kinds == name].T
        shown = printable(name)
        label = f"{shown if len(shown) <= 22 else f'{shown[:21]}…'} ({len(x)})"
        axes.scatter(
            x, y, s=36, c=colour, marker=marker, alpha=0.75, linewidths=0.4, edgecolors="white",
            label=label,
        )  # fmt: skip
    axes.margins(0.06)
    _legend_below(figure, axes)
    return figure


def tsne(embeddings: np.ndarray) -> np.ndarray:
    """t-SNE (van der Maaten and Hinton 2008) of L2-normalised embeddings [N, D] as [N, 2], N >= 3.

    Always the same for the same embeddings; pictures that are all equal lie at the origin.
    """
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import normalize

    points = normalize(embeddings)
    if np.ptp(points, axis=0).max() < 1e-6:
        return np.zeros((len(points), 2))
    perplexity = min(30.0, (len(points) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(points)


def _columns(results: Results) -> tuple[np.ndarray, np.ndarray]:
    labels = np.array([row["label"] for row in results.records], np.int64)
    return labels, np.array([row["score"] for row in results.records], np.float64)


def _bins(axes: Axes, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Edges of a histogram's bars, one of them at the threshold, on an axis that suits them."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    shown = np.append(scores, threshold)
    low, high = shown.min(), shown.max()
    logarithmic = low > 0 and high > 8 * np.median(shown)
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        low, high, threshold = np.log(low), np.log(high), np.log(threshold)
    step = (high - low or abs(high) or 1.0) / np.clip(3 * np.sqrt(len(scores)), 10, 40)
    first, last = np.floor((low - threshold) / step), np.floor((high - threshold) / step) + 1
    edges = threshold + step * np.arange(first, last + 1)
    return np.exp(edges) if logarithmic else edges


def _square_axes(title: str, results: Results) -> tuple[Figure, Axes]:
    """Axes of two rates."""
    figure, axes = _axes(title, results, size=(6.0, 6.0))
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    return figure, axes


def _calibrated(axes: Axes, x: float, y: float) -> None:
    """The point of the calibrated threshold."""
    axes.plot(
        x, y, marker="o", markersize=9, color=BAD, markeredgecolor="white", linestyle="none",
        clip_on=False, label=f"calibrated threshold: {y:.3f} at {x:.3f}",
    )  # fmt: skip


def _axes(
    title: str, results: Results, size: tuple[float, float] = (7.0, 5.0)
) -> tuple[Figure, Axes]:
    _import_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    # A category may hold a dollar sign, which would start a formula.
    category = f": {printable(results.category)}" if results.category else ""
    axes.set_title((title + category).replace("$", r"\$"), loc="left", fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _import_matplotlib() -> None:
    """Imports it also where ``MPLBACKEND`` names what is not there: no backend is needed here."""
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    import matplotlib

    if backend is not None:
        os.environ["MPLBACKEND"] = backend
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = backend  # for the caller's own figures


def _legend_below(figure: Figure, axes: Axes) -> None:
    """A legend under the axes, in as many columns as its labels leave room for."""
    handles, labels = axes.get_legend_handles_labels()
    columns = int(np.clip(76 // (max(map(len, labels)) + 7), 1, 4))
    rows = -(-len(labels) // columns)
    figure.set_figheight(figure.get_figheight() + 0.2 * (rows - 1))
    escaped: list[Any] = [label.replace("$", r"\$") for label in labels]
    figure.legend(handles, escaped, loc="outside lower center", ncols=columns, frameon=False)


def _message(figure: Figure, axes: Axes, text: str) -> Figure:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=PALE)
    return figure
