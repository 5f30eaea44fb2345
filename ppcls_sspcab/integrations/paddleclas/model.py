"""What is put around PaddleClas's network builders: ``Arch.Block``, and our heads for RecModel."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping
from typing import Any

from paddle import nn

from ppcls_sspcab.arch.backbones import DEFAULT_REPLACE
from ppcls_sspcab.arch.replace import replace_layers
from ppcls_sspcab.registry import ARCHITECTURES, HEADS

Builder = Callable[..., Any]


def with_blocks(build_model: Builder) -> Builder:
    """``ppcls.arch.build_model`` that places ``Arch.Block`` in any of its networks.

    Weights of ``Arch.pretrained`` are loaded before the block takes a convolution's place. While
    training, the network then returns a dict with ``logits`` and ``sspcab``, the pairs that
    SSPCABLoss reads; in evaluation mode it returns what it always did. Names of parameters stay.
    """

    @functools.wraps(build_model)
    def build(config: Mapping[str, Any], mode: str = "train") -> nn.Layer:
        arch = config["Arch"]
        if not arch.get("Block") or arch["name"] in ARCHITECTURES.names():
            return build_model(config, mode)
        plain = {name: value for name, value in arch.items() if name != "Block"}
        model = build_model({**config, "Arch": plain}, mode)
        model.default_replace = _default_replace(arch)
        _reports_pairs(model, replace_layers(model, arch["Block"]))
        return model

    return build


def with_heads(build_gear: Builder) -> Builder:
    """``ppcls.arch.build_gear`` that also knows the heads of this project.

    A head takes its size from ``embedding_size`` in the YAML, as PaddleClas's ``FC`` does.
    """

    @functools.wraps(build_gear)
    def build(config: dict[str, Any]) -> nn.Layer:
        if config.get("name") not in HEADS.names():
            return build_gear(config)
        head = HEADS.build(config, "Arch.Head")
        head._forward_alone = head.forward
        head.forward = types.MethodType(_forward_without_label, head)
        return head

    return build


def _default_replace(arch: Mapping[str, Any]) -> str | None:
    if arch["name"] == "RecModel":
        path = DEFAULT_REPLACE.get(arch["Backbone"]["name"])
        return path and f"backbone.{path}"
    return DEFAULT_REPLACE.get(arch["name"])


def _reports_pairs(model: nn.Layer, blocks: list[nn.Layer]) -> None:
    # A bound method, not a hook: a deep copy (EMA) then asks its own blocks, and to_static
    # compiles it.
    model.blocks_in_place = blocks
    model._forward_alone = model.forward
    model.forward = types.MethodType(_forward_with_pairs, model)


def _forward_with_pairs(self: Any, *inputs: Any) -> Any:
    output = self._forward_alone(*inputs)
    if not self.training:
        return output
    pairs = [block.last for block in self.blocks_in_place]
    if isinstance(output, dict):
        return {**output, "sspcab": pairs}
    return {"logits": output, "sspcab": pairs}


def _forward_without_label(self: Any, features: Any, label: Any = None) -> Any:
    return self._forward_alone(features)
