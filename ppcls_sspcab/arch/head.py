"""The projection head, which turns an embedding into logits of the pretext classes."""

from __future__ import annotations

from itertools import pairwise

import paddle
from paddle import nn

from ppcls_sspcab.registry import HEADS

LARGEST = 65536
MOST_LAYERS = 64


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
        ValueError: a size or number out of range.
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
        if not 0 <= hidden_layers <= MOST_LAYERS:
            raise ValueError(f"hidden_layers must be 0 to {MOST_LAYERS}, not {hidden_layers}")
        sizes = [embedding_size, *[hidden_size] * hidden_layers, bottleneck]
        named = {"hidden_size": hidden_size, "bottleneck": bottleneck, "class_num": class_num}
        for name, size in named.items():
            if not 1 <= size <= LARGEST:
                raise ValueError(f"{name} must be 1 to {LARGEST}, not {size}")
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
