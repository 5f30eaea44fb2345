"""Metrics of anomaly maps against masks, in memory that does not grow with the pictures.

Map values are counted in a fixed number of equal steps of 0..1, so a curve is exact but for
values that share a step.
"""

from __future__ import annotations

import dataclasses

import numpy as np

STEPS = 1 << 16
FPR_LIMIT = 0.3
_EIGHT_NEIGHBOURS = np.ones((3, 3))


@dataclasses.dataclass(frozen=True)
class PixelResults:
    """How well maps find the marked pixels; in [0, 1], NaN where there is nothing to tell.

    Attributes:
        pixel_auroc: area under the ROC curve over all pixels.
        aupro: area under the per-region-overlap curve up to a false-positive rate of 30 %,
            divided by 0.3 (Bergmann et al., IJCV 2021, section 6.1): each connected region of
            a mask (8 neighbours) counts the same, however large it is.
        pixel_f1_max: the greatest F1 of any threshold: an upper bound, chosen on the test.
        pixel_f1, pixel_iou: F1 and intersection over union at the calibrated threshold.
        pixel_false_alarm_rate: share of the pixels of good pictures above the calibrated
            threshold; in bad ones no one can say where the defect ends.
        pixel_counts: ``pictures`` that were measured, ``without_mask`` that were not (bad
            pictures whose pixels nobody marked), ``unfit_masks`` that were not because their mask
            cannot be theirs, ``regions``.
    """

    pixel_auroc: float
    aupro: float
    pixel_f1_max: float
    pixel_f1: float
    pixel_iou: float
    pixel_false_alarm_rate: float
    pixel_counts: dict[str, int]


class PixelMeter:
    """Takes maps one by one and gives the metrics of all.

    Args:
        threshold: the calibrated one, on the scale of the maps; a pixel above is called bad.
    """

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = threshold
        self._good = np.zeros(STEPS, np.int64)
        self._bad = np.zeros(STEPS, np.int64)
        # Every region adds 1 in all, spread over the steps that its pixels lie in.
        self._regions = np.zeros(STEPS)
        self._hits = self._alarms = 0
        self._false_alarms = self._seen = 0  # pixels of good pictures: above the threshold, all
        self._counts = {"pictures": 0, "without_mask": 0, "unfit_masks": 0, "regions": 0}

    def add(self, anomaly_map: np.ndarray, mask: np.ndarray | None, unfit: bool = False) -> None:
        """Counts one picture.

        Args:
            anomaly_map: float [H, W] in [0, 1], larger is worse.
            mask: bool [H, W], the defect's pixels, all False for a good picture; None for a bad
                picture whose pixels nobody marked: it is left out.
            unfit: the picture has a mask, which cannot be its own.

        Raises:
            ValueError: shapes that differ, or map values outside [0, 1].
        """
        if mask is None:
            self._counts["unfit_masks" if unfit else "without_mask"] += 1
            return
        if mask.shape != anomaly_map.shape:
            raise ValueError(f"map {list(anomaly_map.shape)} and mask {list(mask.shape)} differ")
        if not (anomaly_map.min() >= 0 and anomaly_map.max() <= 1):
            raise ValueError("map values must lie in 0..1")
        steps = np.minimum((anomaly_map.astype(np.float64) * STEPS).astype(np.int64), STEPS - 1)
        self._counts["pictures"] += 1
        self._good += np.bincount(steps[~mask], minlength=STEPS)
        self._alarms += int(np.count_nonzero(anomaly_map[~mask] > self.threshold))
        if not mask.any():
            self._false_alarms += int(np.count_nonzero(anomaly_map > self.threshold))
            self._seen += mask.size
        else:
            self._bad += np.bincount(steps[mask], minlength=STEPS)
            self._hits += int(np.count_nonzero(anomaly_map[mask] > self.threshold))
            self._add_regions(steps, mask)

    def results(self) -> PixelResults:
        """The metrics of all pictures so far."""
        good, bad = int(self._good.sum()), int(self._bad.sum())
        called = self._hits + self._alarms
        hits = np.cumsum(self._bad[::-1])
        alarms = np.cumsum(self._good[::-1])
        known = good > 0 and bad > 0
        return PixelResults(
            pixel_auroc=_area(alarms / good, hits / bad, 1.0) if known else np.nan,
            aupro=self._aupro(alarms / good) if known else np.nan,
            pixel_f1_max=float(np.max(2 * hits / (hits + alarms + bad))) if known else np.nan,
            pixel_f1=2 * self._hits / (called + bad) if known else np.nan,
            pixel_iou=self._hits / (self._alarms + bad) if known else np.nan,
            pixel_false_alarm_rate=self._false_alarms / self._seen if self._seen else np.nan,
            pixel_counts=dict(self._counts),
        )

    def _add_regions(self, steps: np.ndarray, mask: np.ndarray) -> None:
        from scipy.ndimage import label

        regions, count = label(mask, structure=_EIGHT_NEIGHBOURS)
        sizes = np.bincount(regions[mask], minlength=count + 1)
        np.add.at(self._regions, steps[mask], 1.0 / sizes[regions[mask]])
        self._counts["regions"] += int(count)

    def _aupro(self, rates: np.ndarray) -> float:
        overlaps = np.cumsum(self._regions[::-1]) / self._counts["regions"]
        return _area(rates, overlaps, FPR_LIMIT) / FPR_LIMIT


def _area(x: np.ndarray, y: np.ndarray, limit: float) -> float:
    """Area under a curve of falling thresholds, from (0, 0), for x up to ``limit``."""
    x, y = np.concatenate([[0.0], x]), np.concatenate([[0.0], y])
    inside = x <= limit
    end = np.interp(limit, x, y)
    x, y = np.append(x[inside], limit), np.append(y[inside], end)
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))
