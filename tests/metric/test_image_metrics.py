"""Image metrics against plain definitions and scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as sk

from ppcls_sspcab.metric.image import (
    accuracy,
    auroc_interval,
    bootstrap_interval,
    bootstrap_values,
    detection_rate,
    f1,
    f1_max,
    false_alarm_rate,
    image_aupr,
    image_auroc,
    rate_interval,
)
from ppcls_sspcab.registry import METRICS

CURVES = [image_auroc, image_aupr, f1_max]
AT_THRESHOLD = [f1, false_alarm_rate, detection_rate, accuracy]

# Few distinct scores, so that ties are the rule.
pictures = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5)), min_size=2, max_size=30)
both_kinds = pictures.filter(lambda items: len({label for label, _ in items}) == 2)


def arrays(items):
    labels, scores = zip(*items, strict=True)
    return np.array(labels), np.array(scores, float)


def plain_auroc(labels, scores):
    """All pairs: 1 if the bad one scores higher, 1/2 if equal."""
    pairs = [
        1.0 if bad > good else 0.5 if bad == good else 0.0
        for bad in scores[labels == 1]
        for good in scores[labels == 0]
    ]
    return sum(pairs) / len(pairs)


@given(both_kinds)
def test_auroc_counts_pairs(items):
    labels, scores = arrays(items)
    assert image_auroc(labels, scores) == pytest.approx(plain_auroc(labels, scores))


@pytest.mark.slow
@given(both_kinds)
def test_aupr_is_average_precision(items):
    labels, scores = arrays(items)
    expected = sk.average_precision_score(labels, scores)
    assert image_aupr(labels, scores) == pytest.approx(expected)


@pytest.mark.slow
@given(both_kinds)
def test_f1_max_is_the_best_of_all_thresholds(items):
    labels, scores = arrays(items)
    values = [sk.f1_score(labels, scores > t, zero_division=0) for t in np.arange(-0.5, 6)]
    assert f1_max(labels, scores) == pytest.approx(max(values))


@pytest.mark.slow
@given(both_kinds, st.integers(-1, 6))
def test_rates_at_a_threshold(items, threshold):
    labels, scores = arrays(items)
    tn, fp, fn, tp = sk.confusion_matrix(labels, scores > threshold, labels=[0, 1]).ravel()
    assert f1(labels, scores, threshold) == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert false_alarm_rate(labels, scores, threshold) == pytest.approx(fp / (fp + tn))
    assert detection_rate(labels, scores, threshold) == pytest.approx(tp / (tp + fn))
    assert accuracy(labels, scores, threshold) == pytest.approx((tp + tn) / len(labels))


@given(both_kinds, st.randoms(use_true_random=False))
def test_the_order_of_pictures_does_not_count(items, random):
    shuffled = random.sample(items, len(items))
    for metric in CURVES:
        assert metric(*arrays(items)) == pytest.approx(metric(*arrays(shuffled)))


@given(both_kinds)
def test_curves_see_only_the_ranks(items):
    labels, scores = arrays(items)
    for metric in CURVES:
        assert metric(labels, np.exp(scores) - 100) == pytest.approx(metric(labels, scores))


def test_a_batch_is_each_row_by_itself():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 40), rng.integers(0, 9, (20, 40)).astype(float)
    for metric in CURVES:
        np.testing.assert_allclose(metric(labels, scores), [metric(labels, row) for row in scores])
    for metric in AT_THRESHOLD:
        expected = [metric(labels, row, 4.0) for row in scores]
        np.testing.assert_allclose(metric(labels, scores, 4.0), expected)


@pytest.mark.parametrize("label", [0, 1])
def test_one_kind_of_pictures_gives_nan(label):
    labels, scores = np.full(3, label), np.array([1.0, 2.0, 3.0])
    for metric in CURVES:
        assert math.isnan(metric(labels, scores))
        assert np.isnan(bootstrap_interval(metric, labels, scores, seed=0)).all()
    assert math.isnan(f1(labels, scores, 1.5))
    assert math.isnan(accuracy(labels, scores, 1.5))
    missing, present = (
        (detection_rate, false_alarm_rate) if label == 0 else (false_alarm_rate, detection_rate)
    )
    assert math.isnan(missing(labels, scores, 1.5))
    assert present(labels, scores, 1.5) == pytest.approx(2 / 3)


def test_no_pictures_give_nan():
    for metric in CURVES:
        assert math.isnan(metric(np.array([], int), np.array([])))
    assert math.isnan(accuracy(np.array([], int), np.array([]), 0.0))


def test_lengths_must_match():
    with pytest.raises(ValueError, match="do not match"):
        image_auroc(np.array([0, 1]), np.array([1.0]))


def test_the_registry_knows_the_metrics_without_a_threshold():
    assert {"image_auroc", "image_aupr", "f1_max"} <= set(METRICS.names())


def test_the_interval_has_the_width_theory_gives():
    """A mean of n Bernoulli draws has standard deviation sqrt(p (1 - p) / n)."""
    labels = np.zeros(400, int)
    scores = (np.arange(400) < 80).astype(float)
    low, high = bootstrap_interval(
        lambda a, b: false_alarm_rate(a, b, 0.5), labels, scores, seed=0, samples=4000
    )
    deviation = math.sqrt(0.2 * 0.8 / 400)
    assert low == pytest.approx(0.2 - 1.96 * deviation, abs=0.005)
    assert high == pytest.approx(0.2 + 1.96 * deviation, abs=0.005)


def test_the_auroc_interval_covers_the_truth_nineteen_times_in_twenty():
    rng = np.random.default_rng(0)
    truth = 0.5 * (1 + math.erf(1 / math.sqrt(2)))  # two unit Gaussians, sqrt(2) apart
    labels = np.repeat([0, 1], 60)
    covered = 0
    for seed in range(150):
        scores = rng.normal(size=120) + math.sqrt(2) * labels
        low, high = bootstrap_interval(image_auroc, labels, scores, seed, samples=300)
        covered += low <= truth <= high
    assert covered / 150 > 0.88


def test_the_interval_keeps_both_kinds_of_pictures():
    labels, scores = np.array([0, 0, 0, 1]), np.array([1.0, 2.0, 3.0, 4.0])
    drawn = bootstrap_values(image_auroc, labels, scores, seed=0)
    assert (drawn == 1).all()
    # That all agree is no certainty.
    assert np.isnan(bootstrap_interval(image_auroc, labels, scores, seed=0)).all()


def test_the_interval_depends_on_the_seed_alone():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 50), rng.normal(size=50)
    first, again, other = (bootstrap_interval(image_auroc, labels, scores, s) for s in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize(("count", "total"), [(0, 1), (1, 1), (0, 20), (3, 20), (199, 200)])
def test_a_rate_has_the_exact_interval(count, total):
    exact = binomtest(count, total).proportion_ci(method="exact")
    assert rate_interval(count, total) == pytest.approx((exact.low, exact.high))
    assert np.isnan(rate_interval(0, 0)).all()


@pytest.mark.parametrize(("good", "bad"), [(12, 8), (20, 20), (200, 40)])
@pytest.mark.parametrize("apart", [0.0, 1.0, 2.0, 3.0])
def test_the_auroc_interval_knows_small_numbers(good, bad, apart):
    """Of 1,000 small test sets of two Gaussians, 95 % of the intervals hold the true AUROC."""
    rng = np.random.default_rng(0)
    truth = 0.5 * (1 + math.erf(apart / 2))
    labels = np.repeat([0, 1], [good, bad])
    scores = rng.normal(size=(1000, good + bad)) + apart * labels
    bounds = [auroc_interval(float(value), good, bad) for value in image_auroc(labels, scores)]
    covered = np.mean([low <= truth <= high for low, high in bounds])
    assert covered > 0.93


def test_a_perfect_auroc_on_few_pictures_is_no_certainty():
    low, high = auroc_interval(1.0, 12, 8)
    assert 0.7 < low < 0.9 and high == 1
    assert auroc_interval(1.0, 1200, 800)[0] > 0.995
    low, high = auroc_interval(0.0, 12, 8)
    assert low == 0 and 0.1 < high < 0.3
    assert np.isnan(auroc_interval(math.nan, 12, 0)).all()
