"""Plots: drawn for any pictures, with the numbers they claim, and no global state."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import auc

from ppcls_sspcab.evaluation.plots import (
    histogram_figure,
    roc_figure,
    tsne,
    tsne_figure,
    write_plots,
)
from ppcls_sspcab.evaluation.results import evaluate_scores
from ppcls_sspcab.paths import RunFolder

THRESHOLD = 24.0


def results(defects, count, tail=10.0, threshold=THRESHOLD, category="a $category$"):
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        defect = defects[number % len(defects)]
        label = int(defect != "good")
        score = float(20 + 2 * rng.standard_normal() + label * tail * rng.exponential())
        rows.append(
            {
                "path": f"{number}.png",
                "label": label,
                "defect": defect,
                "score": score,
                "normalized_score": 0.5,
                "is_anomaly": score > threshold,
            }
        )
    return evaluate_scores(rows, threshold, 0, {"category": category})


def embeddings(count, size=16):
    return np.random.default_rng(1).normal(size=(count, size)).astype(np.float32)


CASES = {
    "usual": (["good", "good", "scratch", "hole"], 40),
    "many defects": (["good"] + [f"a_defect_with_a_rather_long_name_{n}" for n in range(20)], 63),
    "three pictures": (["good", "scratch", "good"], 3),
    "good only": (["good"], 8),
    "bad only": (["scratch"], 3),
    "one picture": (["good"], 1),
    "dollars": (["good", "$1", "_x$"], 9),
    "no text": (["good", "raw\udcff", "a\x1b[2J\n"], 9),
}


@pytest.mark.parametrize("case", CASES)
def test_all_plots_are_written(case, tmp_path):
    defects, count = CASES[case]
    paths = write_plots(
        results(defects, count), embeddings(count), RunFolder(str(tmp_path), "part")
    )
    names = ["embedding_tsne.png", "roc.png", "score_histogram.png"]
    if len({defect == "good" for defect in defects}) == 1:  # no curve of one kind
        names.remove("roc.png")
    assert sorted(path.name for path in paths) == names
    assert sorted(path.name for path in (tmp_path / "part" / "plots").iterdir()) == names
    for path in paths:
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert min(image.size) >= 500
            assert len(image.convert("L").getcolors()) > 2


@pytest.mark.parametrize("case", CASES)
def test_no_text_leaves_the_picture(case):
    defects, count = CASES[case]
    found = results(defects, count)
    for figure in (
        roc_figure(found),
        histogram_figure(found),
        tsne_figure(found, embeddings(count)),
    ):
        figure.canvas.draw()
        width, height = figure.canvas.get_width_height()
        box = figure.get_tightbbox().transformed(figure.dpi_scale_trans)
        assert box.x0 >= -1 and box.y0 >= -1
        assert box.x1 <= width + 1 and box.y1 <= height + 1


def test_the_roc_goes_through_the_calibrated_threshold():
    found = results(["good", "scratch"], 40)
    lines = {line.get_label(): line.get_xydata() for line in roc_figure(found).axes[0].lines}
    curve = next(data for label, data in lines.items() if label.startswith("AUROC"))
    point = next(data for label, data in lines.items() if label.startswith("calibrated"))
    assert point.tolist() == [[found.false_alarm_rate, found.detection_rate]]
    assert np.abs(curve - point).sum(axis=1).min() < 1e-12
    assert auc(*curve.T) == pytest.approx(found.image_auroc)


@pytest.mark.parametrize("tail", [10.0, 500.0], ids=["linear", "logarithmic"])
def test_the_histogram_counts_every_picture_on_its_side_of_the_threshold(tail):
    found = results(["good", "good", "scratch"], 90, tail)
    axes = histogram_figure(found).axes[0]
    assert axes.get_xscale() == ("log" if tail > 100 else "linear")
    for patch in axes.patches[::2]:
        counts, edges, _ = patch.get_data()
        label = int(patch.get_label().startswith("bad"))
        scores = np.array([row["score"] for row in found.records if row["label"] == label])
        assert counts.sum() == len(scores)
        right = edges[:-1] > THRESHOLD * (1 - 1e-9)
        assert counts[right].sum() == np.sum(scores > THRESHOLD)


def test_equal_scores_and_odd_thresholds_can_be_drawn(tmp_path):
    for threshold in (0.0, -5.0, 1e6):
        found = results(["good"], 5, threshold=threshold)
        same = [row | {"score": 0.0} for row in found.records]
        for rows in (found.records, same):
            drawn = evaluate_scores(rows, threshold, 0, {})
            histogram_figure(drawn).savefig(tmp_path / "histogram.png")
            assert (tmp_path / "histogram.png").stat().st_size > 0


def test_tsne_is_repeatable_and_keeps_neighbours():
    rng = np.random.default_rng(0)
    centers = np.eye(8)[:3].repeat(15, axis=0)
    points = tsne(centers + 0.05 * rng.normal(size=centers.shape))
    np.testing.assert_array_equal(
        points, tsne(centers + 0.05 * np.random.default_rng(0).normal(size=centers.shape))
    )
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert (distances.argmin(axis=1) // 15 == np.arange(45) // 15).all()


def test_tsne_of_identical_pictures_is_finite():
    assert np.isfinite(tsne(np.ones((6, 8)))).all()


@pytest.mark.slow
@pytest.mark.parametrize("backend", [None, "module://nowhere", "no_such_backend"])
def test_pyplot_and_its_state_stay_untouched(backend):
    """Whatever backend the environment names."""
    code = (
        "import sys, ppcls_sspcab.evaluation.plots as plots\n"
        "assert 'matplotlib' not in sys.modules\n"
        "from ppcls_sspcab.evaluation.results import evaluate_scores\n"
        "row = dict(path='a', label=0, defect='good', score=1.0, normalized_score=.5,"
        " is_anomaly=False)\n"
        "figure = plots.histogram_figure(evaluate_scores([row], 2.0, 0, {}))\n"
        "figure.savefig(sys.stdout.buffer, format='png')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    if backend is not None:
        environment["MPLBACKEND"] = backend
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.startswith(b"\x89PNG")
