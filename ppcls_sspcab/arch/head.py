"""The projection head, which turns an embedding into logits of the pretext classes."""

from __future__ import annotations

from itertools import pairwise

import paddle
from paddle import nn

from ppcls_sspcab.registry import HEADS


@HEADS.register
class ProjectionHead(nn.Layer):
    """``hidden_layers`` x (Linear, BatchNorm, ReLU), a narrow such layer, then a Linear classifier.

    CutPaste (Li et al., CVPR 2021), section 4 and appendix: the head serves training alone; the
    detector scores the embedding before it. One hidden layer does best. The normalisations use
    the statistics of the batch while training and the running ones otherwise. Linear weights are
    drawn He-normal, biases start at 0.

    Args:
        embedding_size: D, size of the embedding.
        class_num: K, number of pretext classes.
        hidden_layers: number of wide layers.
        hidden_size: size of the wide layers.
        bottleneck: size of the narrow layer.

    Raises:
        ValueError: a size below 1, or fewer than 0 hidden layers.
    """

    def __init__(
        self,
        embedding_size: int,
        class_num: int,
        hidden_layers: int = 1,
        hidden_size: int = 512,
        bottleneck: int = 128,
    ) -> None:
        super().__init__()
        if hidden_layers < 0:
            raise ValueError(f"hidden_layers must be at least 0, not {hidden_layers}")
        sizes = [embedding_size, *[hidden_size] * hidden_layers, bottleneck]
        if min(*sizes, class_num) < 1:
            raise ValueError(f"sizes must be at least 1: {sizes}, class_num {class_num}")
        he_normal = nn.initializer.KaimingNormal()
        layers: list[nn.Layer] = []
        for narrow, wide in pairwise(sizes):
            # The normalisation has a bias of its own.
            layers += [
                nn.Linear(narrow, wide, weight_attr=he_normal, bias_attr=False),
                nn.BatchNorm1D(wide),
                nn.ReLU(),
            ]
        self.projection = nn.Sequential(*layers)
        self.classifier = nn.Linear(bottleneck, class_num, weight_attr=he_normal)

    def forward(self, embedding: paddle.Tensor) -> paddle.Tensor:
        """float [N, D] -> logits, float [N, K]."""
        return self.classifier(self.projection(embedding))
