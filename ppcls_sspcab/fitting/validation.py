"""Figures on synthetic defects, which select epochs and image scores; no test picture does."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ppcls_sspcab.arch.modes import evaluation_mode
from ppcls_sspcab.config.config import Config
from ppcls_sspcab.data.build import GoodPictures, within_tolerance
from ppcls_sspcab.data.split import evenly_spread
from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.data.synthetic import MAX_SPOILT, synthetic_validation
from ppcls_sspcab.detector.accelerated import accelerated
from ppcls_sspcab.detector.detector import Detector
from ppcls_sspcab.detector.run import gather, read_features
from ppcls_sspcab.fitting.run import StoredFeatures, combine, score_parts, stored_parts
from ppcls_sspcab.image.batches import batches
from ppcls_sspcab.metric.image import image_auroc

# The least gain in AUROC that counts, however many pictures tell it.
LEAST_GAIN = 0.01


class Comparison(NamedTuple):
    """Image scores on synthetic defects, by name, in the order of the candidates.

    Attributes:
        aurocs: against held-out good pictures, in [0, 1].
        errors: standard error of each one's gain over the first.
    """

    aurocs: dict[str, float]
    errors: dict[str, float]


def synthetic_auroc(detector: Detector, config: Config, pictures: GoodPictures) -> float:
    """Image AUROC of held-out good pictures against synthetic defects made from them.

    The detector is fitted to the training pictures as it will be at the end. The defects are other
    ones than CutPaste's, so that the figure does not measure how well CutPaste was learnt.

    Args:
        detector: fitted in place; the mode of its network is restored.
        pictures: some of them held out.

    Returns:
        AUROC in [0, 1] of the image score; of the one that :func:`chosen_score` takes where it is
        to be chosen.
    """
    pictures = within_tolerance(pictures, config)
    assert pictures.held_out is not None, "the caller checks that pictures are held out"
    batch_size = config.DataLoader.Eval.sampler.batch_size
    with evaluation_mode(detector.network), accelerated(detector):
        detector.fit(StoredFeatures(detector, pictures.train, batch_size))
        parts, _ = stored_parts(detector, pictures.held_out, batch_size, "validating", pixels=1)
        detector.image_score.standardize(parts)
        compared = compare_scores(detector, config, pictures.held_out, parts)
    return compared.aurocs[chosen_score(compared)]


def chosen_score(compared: Comparison) -> str:
    """The name of the image score that ``auto`` takes.

    The first candidate, which is the fused one, unless another is better by more than
    ``LEAST_GAIN`` and by more than the gain's standard error, which few pictures make large; of
    these the best.
    """
    aurocs, errors = compared
    first = next(iter(aurocs))
    better = [
        name for name in aurocs if aurocs[name] - aurocs[first] > max(LEAST_GAIN, errors[name])
    ]
    return max(better, key=aurocs.__getitem__) if better else first


def compare_scores(
    detector: Detector, config: Config, held_out: ImageStore, good_parts: np.ndarray
) -> Comparison:
    """A fitted detector's image score, or all candidates for it, on synthetic defects.

    A score that learns its weights learns them first, on the same defects: few numbers, of which
    200 defects are told apart no better than others would be.

    Args:
        held_out: good pictures that nothing was fitted to; the defects are made from them, or of
            many from ``MAX_SPOILT``, evenly spread. Under ``Tolerance`` both are changed pictures,
            so that a score is not chosen for telling a change from a defect.
        good_parts: float [N, P], the parts of these pictures.
    """
    chosen = evenly_spread(len(held_out), MAX_SPOILT)
    pictures = np.stack([held_out[index] for index in chosen])
    images, _, _, _ = synthetic_validation(pictures, config.Global.seed)
    defective = images[len(pictures) :]
    found = gather(
        read_features(detector, held_out.preprocess.normalize(defective[batch]))
        for batch in batches(range(len(defective)), config.DataLoader.Eval.sampler.batch_size)
    )
    bad_parts, _ = score_parts(detector, found, pixels=1)
    detector.image_score.learn_weights(good_parts, bad_parts)
    candidates = detector.image_score.candidates(np.concatenate([good_parts, bad_parts]))
    scores = {name: combine(score, parts) for name, (score, parts) in candidates.items()}
    labels = np.repeat([0, 1], [len(good_parts), len(bad_parts)])
    first = next(iter(scores.values()))
    return Comparison(
        {name: float(image_auroc(labels, values)) for name, values in scores.items()},
        {name: gain_error(labels, first, values) for name, values in scores.items()},
    )


def gain_error(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Standard error of the difference of two image AUROCs on the same pictures.

    DeLong et al., "Comparing the areas under two or more correlated receiver operating
    characteristic curves" (1988), equation 4 to 6.

    Args:
        labels: int [N], 1 is bad. first, second: scores float [N].

    Returns:
        infinity where there are fewer than two pictures of a kind.
    """
    if min(np.sum(labels == 0), np.sum(labels == 1)) < 2:
        return float("inf")
    good, bad = (
        before - after
        for before, after in zip(_shares(labels, first), _shares(labels, second), strict=True)
    )
    return float(np.sqrt(good.var(ddof=1) / len(good) + bad.var(ddof=1) / len(bad)))


def _shares(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each good picture the share of bad ones above it, of each bad one that of good below."""
    good, bad = scores[labels == 0], scores[labels == 1]
    return 1 - _rank(good, bad), _rank(bad, good)


def _rank(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The share of ``among`` below each value, equal ones counted half."""
    ordered = np.sort(among)
    below = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return below / (2 * len(among))
