"""What is said of a threshold: the plausible rate against scipy and simulation, and gaps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ppcls_sspcab.detector.threshold.calibration import Calibration
from ppcls_sspcab.detector.threshold.doubts import plausible_rate, standing_apart, warn_of_doubts
from ppcls_sspcab.detector.threshold.target_fpr import TargetFPR


@pytest.mark.parametrize(
    ("count", "above"), [(1, 0), (4, 0), (20, 0), (20, 3), (100, 4), (5000, 250), (6, 5)]
)
def test_the_plausible_rate_is_the_quantile_of_beta(count: int, above: int) -> None:
    expected = stats.beta.ppf(0.9, above + 1, count - above)
    assert plausible_rate(count, above) == pytest.approx(expected, abs=1e-9)


def test_all_above_leaves_every_rate_plausible() -> None:
    assert plausible_rate(3, 3) == 1.0


@pytest.mark.parametrize(("count", "rate"), [(20, 0.05), (60, 0.05), (30, 0.2)])
def test_nine_calibrations_in_ten_keep_the_plausible_rate(count: int, rate: float) -> None:
    """With uniform scores a threshold's false-alarm rate is one minus it."""
    rng = np.random.default_rng(0)
    found = [TargetFPR(rate).calibrate(rng.random(count)) for _ in range(2000)]
    kept = np.mean([1 - item.threshold <= item.plausible_fpr for item in found])
    assert kept == pytest.approx(0.9, abs=5 * math.sqrt(0.09 / 2000))


def test_the_guarantee_is_an_average() -> None:
    """The remark in TargetFPR: of 20 pictures at 0.05 one set in eight exceeds twice the rate."""
    rng = np.random.default_rng(0)
    found = [TargetFPR(0.05).calibrate(rng.random(20)) for _ in range(4000)]
    assert all(item.guaranteed for item in found)
    assert np.mean([1 - item.threshold > 0.1 for item in found]) == pytest.approx(1 / 8, abs=0.02)
    assert found[0].plausible_fpr == pytest.approx(0.109, abs=0.001)


@pytest.mark.parametrize(
    ("count", "rate", "times"), [(8, 0.05, 1.5), (8, 0.01, 3.8), (30, 0.01, 1.5)]
)
def test_the_margin_is_worth_what_is_said_for_exponential_scores(
    count: int, rate: float, times: float
) -> None:
    rng = np.random.default_rng(0)
    found = [TargetFPR(rate).calibrate(rng.exponential(size=count)) for _ in range(3000)]
    kept = np.mean([math.exp(-max(item.threshold, 0)) for item in found])
    assert kept / rate == pytest.approx(times, rel=0.12)


def test_a_bad_picture_among_the_good_ones_is_named() -> None:
    rng = np.random.default_rng(0)
    scores = np.append(rng.normal(10, 1, 20), 25.0)
    order = rng.permutation(21)
    assert standing_apart(scores[order]) == [order.tolist().index(20)]
    assert len(standing_apart(np.append(scores, 26.0))) == 2


@pytest.mark.parametrize("count", [2, 7, 8, 20, 200])
def test_good_pictures_alone_are_seldom_suspected(count: int) -> None:
    rng = np.random.default_rng(0)
    for draw, share in ((rng.standard_normal, 0.015), (rng.standard_exponential, 0.13)):
        assert np.mean([bool(standing_apart(draw(count))) for _ in range(500)]) <= share
    assert standing_apart(np.ones(count)) == []


@pytest.mark.parametrize(
    ("count", "bound"), [(2, "0.68"), (4, "0.44"), (6, "0.32"), (18, "0.12"), (19, None)]
)
def test_few_pictures_are_warned_of_with_the_plausible_rate(
    count: int, bound: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    calibration = TargetFPR(0.05).calibrate(np.arange(float(count)))
    warn_of_doubts("bottle", calibration, [])
    said = capsys.readouterr().err.splitlines()
    assert len(said) == (bound is not None)
    if bound is not None:
        assert f"up to {bound} of new good pictures" in said[0] and "0.05 is wanted" in said[0]


def test_what_stands_apart_is_named_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    calibration = Calibration(1.0, 1.0, pictures=40, good_pictures=40, plausible_fpr=0.06)
    warn_of_doubts("bottle", calibration, [f"{number}.png" for number in range(5)])
    (said,) = capsys.readouterr().err.splitlines()
    assert "5 of 40 good pictures" in said and "0.png, 1.png, 2.png and 2 more" in said
