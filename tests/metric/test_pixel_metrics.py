"""Pixel metrics against slow, plain references that look at every threshold."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import label
from sklearn.metrics import f1_score, jaccard_score, precision_recall_curve, roc_auc_score

from ppcls_sspcab.metric.pixel import STEPS, PixelMeter

SHAPE = (24, 31)


def pictures(count: int, seed: int, levels: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """Maps whose values fall on whole steps, and masks of several regions each."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, *SHAPE), bool)
    for mask in masks[count // 3 :]:
        for _ in range(rng.integers(1, 4)):
            top, left = rng.integers(0, 18), rng.integers(0, 25)
            mask[top : top + rng.integers(1, 6), left : left + rng.integers(1, 6)] = True
    maps = np.clip(rng.normal(0.4 + 0.2 * masks, 0.15), 0, 0.999)
    return np.floor(maps * levels) / levels, masks


def measure(maps: np.ndarray, masks: np.ndarray, threshold: float = 0.5) -> PixelMeter:
    meter = PixelMeter(threshold)
    for anomaly_map, mask in zip(maps, masks, strict=True):
        meter.add(anomaly_map, mask)
    return meter


def slow_aupro(maps: np.ndarray, masks: np.ndarray, limit: float = 0.3) -> float:
    regions = []
    for anomaly_map, mask in zip(maps, masks, strict=True):
        numbers, count = label(mask, np.ones((3, 3)))
        regions += [anomaly_map[numbers == number] for number in range(1, count + 1)]
    points = [(0.0, 0.0)]
    for threshold in np.unique(maps)[::-1]:
        rate = np.mean(maps[~masks] >= threshold)
        points.append((rate, np.mean([np.mean(region >= threshold) for region in regions])))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 < limit < x1:
            area += (limit - x0) * (y0 + (y1 - y0) * (limit - x0) / (x1 - x0) / 2)
        elif x1 <= limit:
            area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_metric_is_that_of_the_slow_reference(seed: int) -> None:
    maps, masks = pictures(9, seed)
    found = measure(maps, masks, 0.55).results()
    truth, values = masks.ravel(), maps.ravel()
    assert found.pixel_auroc == pytest.approx(roc_auc_score(truth, values), abs=1e-9)
    assert found.aupro == pytest.approx(slow_aupro(maps, masks), abs=1e-9)
    precision, recall, _ = precision_recall_curve(truth, values)
    best = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))
    assert found.pixel_f1_max == pytest.approx(best, abs=1e-9)
    assert found.pixel_f1 == pytest.approx(f1_score(truth, values > 0.55), abs=1e-9)
    assert found.pixel_iou == pytest.approx(jaccard_score(truth, values > 0.55), abs=1e-9)
    good = maps[~masks.any(axis=(1, 2))]
    assert found.pixel_false_alarm_rate == pytest.approx(np.mean(good > 0.55))
    assert found.pixel_counts["pictures"] == 9


def test_values_between_the_steps_change_next_to_nothing() -> None:
    _, masks = pictures(6, 3)
    maps = np.random.default_rng(0).random(masks.shape).astype(np.float32) * 0.4 + 0.5 * masks
    found = measure(maps, masks).results()
    assert found.pixel_auroc == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-4)
    assert found.aupro == pytest.approx(slow_aupro(maps, masks), abs=1e-3)


def test_a_small_region_counts_as_much_as_a_large_one() -> None:
    mask = np.zeros((20, 20), bool)
    mask[:10, :10] = mask[15, 15] = True
    large_found, small_found = np.zeros((20, 20)), np.zeros((20, 20))
    large_found[:10, :10] = small_found[15, 15] = 0.9
    large = measure(large_found[None], mask[None]).results()
    small = measure(small_found[None], mask[None]).results()
    assert large.aupro == pytest.approx(small.aupro)
    assert large.pixel_auroc > small.pixel_auroc + 0.4
    assert large.pixel_counts["regions"] == 2


def test_perfect_and_constant_maps() -> None:
    _, masks = pictures(6, 4)
    perfect = measure(0.1 + 0.8 * masks, masks).results()
    found = (perfect.pixel_auroc, perfect.aupro, perfect.pixel_iou, perfect.pixel_f1_max)
    assert found == pytest.approx((1, 1, 1, 1))
    constant = measure(np.full(masks.shape, 0.3), masks).results()
    assert constant.pixel_auroc == pytest.approx(0.5)
    assert constant.aupro == pytest.approx(0.15)


def test_memory_does_not_grow_with_the_pictures() -> None:
    def held(meter: PixelMeter) -> int:
        return sum(v.nbytes for v in vars(meter).values() if isinstance(v, np.ndarray))

    maps, masks = pictures(30, 5)
    assert held(measure(maps, masks)) == held(PixelMeter()) == 3 * 8 * STEPS


def test_pictures_without_a_mask_are_counted_and_left_out() -> None:
    maps, masks = pictures(6, 6)
    meter = measure(maps, masks)
    before = meter.results()
    meter.add(np.ones(SHAPE), None)
    after = meter.results()
    assert after.pixel_auroc == before.pixel_auroc
    assert after.pixel_counts == {**before.pixel_counts, "without_mask": 1}


def test_without_defects_only_the_false_alarms_are_known() -> None:
    found = measure(np.full((1, *SHAPE), 0.7), np.zeros((1, *SHAPE), bool)).results()
    assert np.isnan([found.pixel_auroc, found.aupro, found.pixel_iou]).all()
    assert found.pixel_false_alarm_rate == 1
    assert np.isnan(PixelMeter().results().pixel_false_alarm_rate)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="differ"):
        PixelMeter().add(np.zeros((3, 4)), np.zeros((4, 3), bool))
    for value in (1.5, -0.1, np.nan):
        with pytest.raises(ValueError, match=r"0\.\.1"):
            PixelMeter().add(np.full((3, 4), value), np.zeros((3, 4), bool))
