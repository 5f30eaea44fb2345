"""Figures on synthetic defects, which select epochs and image scores; no test picture does."""

from __future__ import annotations

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

# The least gain in AUROC that counts: on fifty held-out pictures less is chance.
LEAST_GAIN = 0.01


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
        aurocs = score_aurocs(detector, config, pictures.held_out, parts)
    return aurocs[chosen_score(aurocs)]


def chosen_score(aurocs: dict[str, float]) -> str:
    """The name of the image score that ``auto`` takes.

    The first candidate, which is the fused one, unless another is better by more than
    ``LEAST_GAIN``; then the best.

    Args:
        aurocs: as :func:`score_aurocs` gives them.
    """
    first, best = next(iter(aurocs)), max(aurocs, key=aurocs.__getitem__)
    return best if aurocs[best] - aurocs[first] > LEAST_GAIN else first


def score_aurocs(
    detector: Detector, config: Config, held_out: ImageStore, good_parts: np.ndarray
) -> dict[str, float]:
    """AUROC of a fitted detector's image score, or of all candidates for it, by name.

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
    labels = np.repeat([0, 1], [len(good_parts), len(bad_parts)])
    candidates = detector.image_score.candidates(np.concatenate([good_parts, bad_parts]))
    return {
        name: float(image_auroc(labels, combine(score, parts)))
        for name, (score, parts) in candidates.items()
    }
