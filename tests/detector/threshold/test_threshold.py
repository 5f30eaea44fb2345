"""Thresholds against conformal theory, by simulation and by brute force."""

import math
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppcls_sspcab.detector.density.gaussian import GaussianDensity
from ppcls_sspcab.detector.threshold.calibration import Calibration, spread
from ppcls_sspcab.detector.threshold.f1 import F1Threshold
from ppcls_sspcab.detector.threshold.manual import ManualThreshold
from ppcls_sspcab.detector.threshold.out_of_fold import out_of_fold
from ppcls_sspcab.detector.threshold.target_fpr import TargetFPR
from ppcls_sspcab.errors import ConfigError, DataError, ModelError
from ppcls_sspcab.registry import THRESHOLDS


@pytest.mark.parametrize(("count", "rate"), [(19, 0.05), (40, 0.05), (200, 0.1), (57, 0.3)])
def test_the_false_alarm_rate_is_the_one_theory_gives(count, rate):
    """With uniform scores a threshold's false-alarm rate is Beta(n + 1 - k, k) distributed."""
    rng = np.random.default_rng(0)
    method = TargetFPR(rate)
    rates = [1 - method.calibrate(rng.random(count)).threshold for _ in range(4000)]
    k = math.ceil(round((count + 1) * (1 - rate), 9))
    a, b = count + 1 - k, k
    expected = a / (a + b)
    error = math.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)) / len(rates))
    assert expected <= rate + 1e-12
    assert np.mean(rates) == pytest.approx(expected, abs=5 * error)


@given(st.integers(2, 300), st.sampled_from([0.01, 0.05, 0.1, 0.2, 0.5]))
def test_the_threshold_is_the_smallest_that_keeps_the_promise(count, rate):
    """Of n + 1 exchangeable scores the last is above the k-th of the others in 1 - k / (n + 1)."""
    scores = np.arange(1.0, count + 1)
    calibration = TargetFPR(rate).calibrate(scores)
    keeping = [k for k in range(1, count + 1) if 1 - k / (count + 1) <= rate + 1e-12]
    assert calibration.guaranteed == bool(keeping)
    assert calibration.guaranteed == (count >= TargetFPR(rate).pictures_needed)
    if keeping:
        assert calibration.threshold == keeping[0]
    else:
        assert calibration.threshold > count


@pytest.mark.parametrize(
    ("draw", "bound"), [("standard_normal", 0.055), ("standard_exponential", 0.085)]
)
@pytest.mark.parametrize("count", [8, 15])
def test_too_few_pictures_still_come_near_the_target(draw, bound, count):
    rng = np.random.default_rng(0)
    news = getattr(rng, draw)(20000)
    rates = []
    for _ in range(500):
        calibration = TargetFPR(0.05).calibrate(getattr(rng, draw)(count))
        assert not calibration.guaranteed
        rates.append(np.mean(news > calibration.threshold))
    assert np.mean(rates) < bound
    assert "takes 19" in calibration.note


def test_ties_never_alarm_above_the_target():
    scores = np.repeat([1.0, 2.0, 3.0], 20)
    threshold = TargetFPR(0.1).calibrate(scores).threshold
    assert threshold == 3.0
    assert not np.any(scores > threshold)


@given(
    st.lists(
        st.floats(-1e9, 1e9).filter(lambda x: x == 0 or abs(x) > 1e-6), min_size=1, max_size=30
    )
)
def test_the_scale_is_positive_and_usable(scores):
    scale = spread(np.array(scores))
    assert 0 < scale < np.inf
    assert np.float32(scale) > 0


def test_the_scale_is_a_standard_deviation_that_ignores_outliers():
    scores = 5 + 2 * np.random.default_rng(0).standard_normal(4000)
    assert spread(scores) == pytest.approx(2, rel=0.05)
    scores[:40] = 1e6
    assert spread(scores) == pytest.approx(2, rel=0.07)


def brute_force_f1(good, bad, threshold):
    hits, alarms = sum(s > threshold for s in bad), sum(s > threshold for s in good)
    return 2 * hits / (2 * hits + alarms + len(bad) - hits)


@pytest.mark.slow
@given(
    st.lists(st.integers(0, 8), min_size=2, max_size=12),
    st.lists(st.integers(0, 8), min_size=1, max_size=12),
)
def test_no_threshold_has_a_greater_f1(good, bad):
    calibration = F1Threshold().calibrate(np.array(good), np.array(bad))
    best = max(brute_force_f1(good, bad, value) for value in np.arange(-1, 9, 0.5))
    assert brute_force_f1(good, bad, calibration.threshold) == pytest.approx(best)


def test_f1_lies_in_the_middle_of_the_gap():
    calibration = F1Threshold().calibrate(np.array([1.0, 2.0]), np.array([6.0, 7.0]))
    assert calibration.threshold == 4.0
    assert calibration.pictures == 4
    assert not calibration.guaranteed


def test_manual_keeps_the_value():
    calibration = ManualThreshold(3).calibrate(np.array([1.0, 2.0, 4.0]))
    assert calibration.threshold == 3.0
    assert calibration.scale == pytest.approx(1.4826)


def test_built_from_yaml():
    method = THRESHOLDS.build({"name": "TargetFPR", "target_fpr": 0.1}, "Threshold")
    assert method.calibrate(np.arange(9.0)).guaranteed
    with pytest.raises(ConfigError, match="between 0 and 1"):
        THRESHOLDS.build({"name": "TargetFPR", "target_fpr": 1.0}, "Threshold")
    with pytest.raises(ConfigError, match="at least 1e-09, not 1e-320"):
        THRESHOLDS.build({"name": "TargetFPR", "target_fpr": 1e-320}, "Threshold")
    with pytest.raises(ConfigError, match=r"Threshold\.value"):
        THRESHOLDS.build({"name": "ManualThreshold"}, "Threshold")


def test_broken_scores_are_refused():
    with pytest.raises(DataError, match="good pictures, and there are none"):
        TargetFPR().calibrate(np.array([]))
    with pytest.raises(DataError, match="bad pictures, and there are none"):
        F1Threshold().calibrate(np.array([1.0, 2.0]), np.array([]))
    with pytest.raises(DataError, match="at least 2 good pictures, and there are 1"):
        TargetFPR().calibrate(np.array([1.0]))
    with pytest.raises(ModelError, match="1 of 3 scores"):
        TargetFPR().calibrate(np.array([1.0, np.nan, 2.0]))


def test_a_calibration_can_lose_its_guarantee_but_not_gain_one():
    calibration = TargetFPR(0.5).calibrate(np.arange(9.0))
    weaker = calibration.without_guarantee("out of fold")
    assert isinstance(weaker, Calibration)
    assert (weaker.guaranteed, weaker.note) == (False, "out of fold")
    assert weaker.threshold == calibration.threshold
    assert weaker.without_guarantee("again").note == "out of fold"


def out_of_fold_scores(kind, points, folds, seed):
    """Scores every point by a density that was fitted to the other folds."""

    def judge(fitted, judged):
        density = kind(points.shape[1])
        density.fit(points[fitted])
        return density.score(points[judged])

    return out_of_fold(judge, len(points), folds, seed)


class Spy(GaussianDensity):
    """Notes what it is fitted on and what it scores."""

    calls: ClassVar[list] = []

    def fit(self, embeddings):
        super().fit(embeddings)
        self.fitted = {tuple(row) for row in embeddings}

    def score(self, embeddings):
        Spy.calls.append((self.fitted, {tuple(row) for row in embeddings}))
        return super().score(embeddings)


@pytest.mark.parametrize(("count", "folds"), [(3, 2), (3, 5), (4, 2), (11, 5), (6, 100)])
def test_no_picture_is_scored_by_a_density_that_has_seen_it(count, folds):
    Spy.calls = []
    points = np.random.default_rng(0).normal(size=(count, 4))
    scores = out_of_fold_scores(Spy, points, folds, seed=0)
    assert np.isfinite(scores).all()
    assert all(not fitted & scored for fitted, scored in Spy.calls)
    assert set.union(*(scored for _, scored in Spy.calls)) == {tuple(row) for row in points}


def test_out_of_fold_scores_depend_on_the_seed_alone():
    points = np.random.default_rng(0).normal(size=(20, 4))
    first, again, other = (
        out_of_fold_scores(GaussianDensity, points, 5, seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.slow
def test_out_of_fold_thresholds_are_cautious():
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(40):
        good = 1 + 0.3 * rng.normal(size=(60, 32))
        density = GaussianDensity(32)
        scores = out_of_fold_scores(GaussianDensity, good, 5, seed=0)
        threshold = TargetFPR(0.1).calibrate(scores).threshold
        density.fit(good)
        rates.append(np.mean(density.score(1 + 0.3 * rng.normal(size=(200, 32))) > threshold))
    assert np.mean(rates) < 0.1


def test_two_pictures_are_too_few_for_folds():
    with pytest.raises(DataError, match="at least 3"):
        out_of_fold_scores(GaussianDensity, np.ones((2, 4)), 2, seed=0)
