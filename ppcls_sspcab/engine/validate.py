"""The figure that ``model_selection: val_synthetic`` goes by; no test picture is involved."""

from __future__ import annotations

import numpy as np
from paddle import nn

from ppcls_sspcab.config import Config
from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.data.synthetic import synthetic_validation
from ppcls_sspcab.detector import Detector
from ppcls_sspcab.engine.build import build_density
from ppcls_sspcab.engine.onednn import accelerated
from ppcls_sspcab.engine.scoring import chunks, detect, detect_store
from ppcls_sspcab.metric.image import image_auroc


def synthetic_auroc(
    network: nn.Layer, config: Config, good: ImageStore, held_out: ImageStore
) -> float:
    """Image AUROC of held-out good pictures against synthetic defects made from them.

    The density is fitted to ``good`` as it will be at the end. The defects are other ones than
    CutPaste's, so that the figure does not measure how well CutPaste was learnt.

    Args:
        network: at its present state of training; its mode is restored.
        good: pictures the network is trained on.
        held_out: good pictures that it never saw.

    Returns:
        AUROC in [0, 1].
    """
    was_training = network.training
    network.eval()
    detector = Detector(network, build_density(config, network))
    detector.eval()
    batch_size = config.eval_sampler.batch_size
    pictures = np.stack([held_out[index] for index in range(len(held_out))])
    images, labels, _, _ = synthetic_validation(pictures, config.run.seed)
    with accelerated(detector, config.preprocess.image_size):
        found = detect_store(detector, good, config.preprocess, batch_size, "fitting")
        detector.density.fit(found["embedding"])
        scores = [
            detect(detector, config.preprocess.normalize(images[list(batch)]))["score"]
            for batch in chunks(range(len(images)), batch_size)
        ]
    if was_training:
        network.train()
    return image_auroc(labels, np.concatenate(scores))
