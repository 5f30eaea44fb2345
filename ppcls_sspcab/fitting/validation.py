"""Figures on synthetic defects, which select epochs and image scores; no test picture does."""

from __future__ import annotations

import numpy as np
from paddle import nn

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.data.split import evenly_spread
from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.data.synthetic import MAX_SPOILT, synthetic_validation
from ppcls_sspcab.detector.accelerated import accelerated
from ppcls_sspcab.detector.build import unfitted_detector
from ppcls_sspcab.detector.detector import Detector
from ppcls_sspcab.detector.run import chunks, gather, read_features
from ppcls_sspcab.fitting.run import combine, fitting_features, score_parts, stored_parts
from ppcls_sspcab.metric.image import image_auroc

# Of AUROC. On fifty held-out pictures less is chance, and more than one score hedges against it.
LEAST_GAIN = 0.01


def synthetic_auroc(
    network: nn.Layer, config: Config, good: ImageStore, held_out: ImageStore
) -> float:
    """Image AUROC of held-out good pictures against synthetic defects made from them.

    The detector is fitted to ``good`` as it will be at the end. The defects are other ones than
    CutPaste's, so that the figure does not measure how well CutPaste was learnt.

    Args:
        network: at its present state of training; its mode is restored.
        good: pictures the network is trained on.
        held_out: good pictures that it never saw.

    Returns:
        AUROC in [0, 1] of the image score; of the one that :func:`chosen_score` takes where it is
        to be chosen.
    """
    was_training = network.training
    network.eval()
    detector = unfitted_detector(config, network)
    reading = (config.Preprocess, config.eval_sampler.batch_size)
    with accelerated(detector):
        detector.fit(fitting_features(detector, good, *reading))
        parts, _ = stored_parts(detector, held_out, *reading, "validating", pixels=1)
        detector.image_score.standardize(parts)
        aurocs = score_aurocs(detector, config, held_out, parts)
    if was_training:
        network.train()
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
            many from ``MAX_SPOILT``, evenly spread.
        good_parts: float [N, P], the parts of these pictures.
    """
    chosen = evenly_spread(len(held_out), MAX_SPOILT)
    pictures = np.stack([held_out[index] for index in chosen])
    images, _, _, _ = synthetic_validation(pictures, config.Global.seed)
    defective = images[len(pictures) :]
    found = gather(
        read_features(detector, config.Preprocess.normalize(defective[list(batch)]))
        for batch in chunks(range(len(defective)), config.eval_sampler.batch_size)
    )
    bad_parts, _ = score_parts(detector, found, pixels=1)
    labels = np.repeat([0, 1], [len(good_parts), len(bad_parts)])
    columns = detector.image_score.split(np.concatenate([good_parts, bad_parts]))
    candidates = detector.image_score.candidates()
    return {
        name: float(image_auroc(labels, combine(score, parts)))
        for (name, score), parts in zip(candidates.items(), columns, strict=True)
    }
