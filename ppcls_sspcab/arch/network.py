"""The network of the method: a backbone with SSPCAB inside, and a projection head."""

from __future__ import annotations

import copy
from typing import Any

import paddle
from paddle import nn

from ppcls_sspcab.arch.backbones import build_backbone
from ppcls_sspcab.arch.paths import bracketed, dotted, find_layer
from ppcls_sspcab.arch.replace import replace_layers
from ppcls_sspcab.errors import ConfigError, did_you_mean
from ppcls_sspcab.registry import ARCHITECTURES, HEADS

# Keys that PaddleClas's engine reads from the section Arch and also hands to the constructor.
_PADDLECLAS_KEYS = ("infer_output_key", "infer_add_softmax", "is_rec", "use_sync_bn")


@ARCHITECTURES.register
class CutPasteNet(nn.Layer):
    """Backbone, mean over the places of its feature map (the embedding), projection head.

    Weights: the backbone's come from ``pretrained``, and what the file lacks keeps the backbone's
    own initialisation (Paddle's and PaddleClas's convolutions: He-normal); they are loaded before
    the blocks take their places. Blocks and head are always drawn, see their classes.

    Args:
        Backbone: section of a registered or a PaddleClas backbone, ``{name: resnet18}``.
        Block: section, or list of sections, of a block and the places it takes; null for none.
        Head: section of a head; null for ``ProjectionHead`` as the paper has it.
        class_num: K, number of pretext classes; 3 for the 3-way task.
        pretrained: ``true`` downloads the backbone's published weights, a path reads a file.
        freeze: paths of backbone layers whose parameters and BatchNorm statistics never change.
        untrained: paths of backbone layers that are kept a second time, as they are before
            training, for scores and localizers. What lies before them must be frozen.
        kwargs: keys of PaddleClas's section ``Arch`` that mean nothing here.

    Attributes:
        backbone, head: the two parts. ``embedding_size``: D. ``class_num``: K.
        blocks: the blocks in place. ``frozen_for_good``: the layers of ``freeze``.
        untrained: the layers of ``untrained``, in the order of ``untrained_paths``, which are
            Paddle's dotted paths.

    Raises:
        ConfigError: a wrong name, path or argument. ModelError: weights that do not fit.
    """

    def __init__(
        self,
        Backbone: dict[str, Any],
        Block: dict[str, Any] | list[Any] | None = None,
        Head: dict[str, Any] | None = None,
        class_num: int = 3,
        pretrained: bool | str = False,
        freeze: list[str] | None = None,
        untrained: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        _refuse_unknown(kwargs)
        self.backbone = build_backbone(Backbone, pretrained)
        self.class_num = class_num
        self.embedding_size = int(self.backbone.num_features)
        copies = [
            copy.deepcopy(find_layer(self.backbone, path, "Arch.untrained"))
            for path in untrained or []
        ]
        self.blocks = replace_layers(self.backbone, Block) if Block else []
        self.head = HEADS.build(
            Head or {"name": "ProjectionHead"},
            "Arch.Head",
            embedding_size=self.embedding_size,
            class_num=class_num,
        )
        # BatchNorm may keep its statistics as parameters that no optimizer may touch.
        self._trainable = [n for n, p in self.backbone.named_parameters() if not p.stop_gradient]
        self.frozen_for_good = [
            find_layer(self.backbone, path, "Arch.freeze") for path in freeze or []
        ]
        self.untrained_paths = [dotted(path) for path in untrained or []]
        self._refuse_trained_inputs()
        self.untrained = nn.LayerList(copies)
        for parameter in self.untrained.parameters():
            parameter.stop_gradient = True
        self.unfreeze_backbone()

    def forward(self, images: paddle.Tensor, label: paddle.Tensor | None = None) -> dict[str, Any]:
        """What the losses read of images float32 [N, 3, H, W]; PaddleClas's engine gives labels.

        Returns:
            ``logits`` [N, K], ``embedding`` [N, D] before the head, and ``sspcab``, a list with
            one pair (block input, block output), both [N, C, h, w], for each block.
        """
        embedding = self.embed(images)
        return {
            "logits": self.head(embedding),
            "embedding": embedding,
            "sspcab": [block.last for block in self.blocks],
        }

    def embed(self, images: paddle.Tensor) -> paddle.Tensor:
        """float32 [N, 3, H, W] -> embedding, float32 [N, D]: what the detector scores."""
        return self.feature_map(images).mean(axis=[2, 3])

    def feature_map(self, images: paddle.Tensor) -> paddle.Tensor:
        """float32 [N, 3, H, W] -> the backbone's last map, float32 [N, D, h, w]."""
        # A wrapper (DataParallel, Detector) sets the mode of every layer without asking us.
        self._hold_frozen()
        return self.backbone(images)

    def freeze_backbone(self) -> None:
        """Holds the backbone's parameters and BatchNorm statistics, but not those of its blocks."""
        self._freeze([self.backbone])

    def unfreeze_backbone(self) -> None:
        """Ends :meth:`freeze_backbone`; what ``freeze`` names stays frozen."""
        self._freeze(self.frozen_for_good)

    def train(self, *mode: bool) -> CutPasteNet:
        """Paddle's ``train``, with the frozen layers kept in evaluation mode."""
        super().train(*mode)
        self._hold_frozen()
        return self

    def _freeze(self, parts: list[nn.Layer]) -> None:
        learning = {id(layer) for block in self.blocks for layer in _tree(block)}
        whole = [layer for part in parts for layer in _tree(part)]
        self._frozen = [layer for layer in whole if id(layer) not in learning]
        held = {id(p) for layer in self._frozen for p in layer.parameters(include_sublayers=False)}
        parameters = dict(self.backbone.named_parameters())
        for name in self._trainable:
            parameters[name].stop_gradient = id(parameters[name]) in held
        for layer in _tree(self.backbone):
            layer.training = self.training
        self._frozen += _tree(self.untrained)
        self._hold_frozen()

    def _refuse_trained_inputs(self) -> None:
        """Backbones list their layers in the order in which they run."""
        frozen = {id(layer) for part in self.frozen_for_good for layer in _tree(part)}
        for path in self.untrained_paths:
            kept = {id(layer) for layer in _tree(find_layer(self.backbone, path, "Arch.untrained"))}
            for name, layer in self.backbone.named_sublayers():
                if id(layer) in kept:
                    break
                if layer.parameters(include_sublayers=False) and id(layer) not in frozen:
                    raise ConfigError(
                        "Arch.untrained",
                        f"{path!r} reads what {bracketed(name)!r} gives, which is trained: add "
                        "what lies before it to Arch.freeze, or set Arch.untrained: null",
                    )

    def _hold_frozen(self) -> None:
        for layer in self._frozen:
            layer.training = False


def _tree(layer: nn.Layer) -> list[nn.Layer]:
    return layer.sublayers(include_self=True)


def _refuse_unknown(kwargs: dict[str, Any]) -> None:
    own = ("Backbone", "Block", "Head", "class_num", "pretrained", "freeze", "untrained")
    known = own + _PADDLECLAS_KEYS
    for name in kwargs:
        if name not in _PADDLECLAS_KEYS:
            raise ConfigError(f"Arch.{name}", f"unknown key{did_you_mean(name, known)}")
