"""Figures on synthetic defects, which select epochs and image scores; no test picture does."""

from __future__ import annotations

from functools import partial

import numpy as np
from paddle import nn

from ppcls_sspcab.config import Config
from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.data.synthetic import synthetic_validation
from ppcls_sspcab.detector import Detector
from ppcls_sspcab.engine.build import unfitted_detector
from ppcls_sspcab.engine.onednn import accelerated
from ppcls_sspcab.engine.scoring import (
    chunks,
    combine,
    gather,
    read_features,
    run_store,
    score_parts,
)
from ppcls_sspcab.metric.image import image_auroc


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
        AUROC in [0, 1] of the image score; of the best one where it is to be chosen.
    """
    was_training = network.training
    network.eval()
    detector = unfitted_detector(config, network)
    batch_size = config.eval_sampler.batch_size
    with accelerated(detector):
        run = partial(read_features, detector)
        detector.fit(gather(run_store(run, good, config.preprocess, batch_size, "fitting")))
        found = gather(run_store(run, held_out, config.preprocess, batch_size, "validating"))
        parts, _ = score_parts(detector, found, pixels=1)
        detector.image_score.align(parts)
        aurocs = score_aurocs(detector, config, held_out, parts)
    if was_training:
        network.train()
    return max(aurocs.values())


def score_aurocs(
    detector: Detector, config: Config, held_out: ImageStore, good_parts: np.ndarray
) -> dict[str, float]:
    """AUROC of a fitted detector's image score, or of all candidates for it, by name.

    Args:
        held_out: good pictures that nothing was fitted to; the defects are made from them.
        good_parts: float [N, P], the parts of these pictures.
    """
    pictures = np.stack([held_out[index] for index in range(len(held_out))])
    images, _, _, _ = synthetic_validation(pictures, config.run.seed)
    defective = images[len(pictures) :]
    found = gather(
        read_features(detector, config.preprocess.normalize(defective[list(batch)]))
        for batch in chunks(range(len(defective)), config.eval_sampler.batch_size)
    )
    bad_parts, _ = score_parts(detector, found, pixels=1)
    labels = np.repeat([0, 1], [len(good_parts), len(bad_parts)])
    columns = detector.image_score.split(np.concatenate([good_parts, bad_parts]))
    candidates = detector.image_score.candidates()
    return {
        score.name: float(image_auroc(labels, combine(score, parts)))
        for score, parts in zip(candidates, columns, strict=True)
    }
