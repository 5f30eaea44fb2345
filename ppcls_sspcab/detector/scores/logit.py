"""The log odds of the pretext task: CutPaste (Li et al., CVPR 2021), section 4.1."""

from __future__ import annotations

import paddle

from ppcls_sspcab.detector.scores.base import Features, ImageScore
from ppcls_sspcab.registry import IMAGE_SCORES


@IMAGE_SCORES.register_as("logit")
class LogitScore(ImageScore):
    """``log((1 - p) / p)``, with p the probability of class 0, the picture without a paste.

    It orders pictures exactly as -log p does (CutPaste paper, section 4.1), but where p is near 1
    that is all zeros in float32, and this still tells good pictures apart.
    """

    needs = ("logits",)

    def forward(self, features: Features, anomaly_map: paddle.Tensor | None) -> paddle.Tensor:
        logits = features["logits"]
        others = logits[:, 1:]
        largest = others.max(axis=-1, keepdim=True)
        total = largest + (others - largest).exp().sum(axis=-1, keepdim=True).log()
        return (total - logits[:, :1])[:, 0]
