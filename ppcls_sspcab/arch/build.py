"""The network of a configuration."""

from __future__ import annotations

from paddle import nn

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.errors import ConfigError, ModelError
from ppcls_sspcab.registry import ARCHITECTURES


def build_network(config: Config, class_num: int | None = None) -> nn.Layer:
    """The network of section ``Arch``, its pretrained weights loaded.

    Args:
        class_num: number of classes of the view transform, where the network is to be trained.

    Raises:
        ConfigError: a wrong key or value, or an ``Arch.class_num`` that is not ``class_num``.
    """
    try:
        network = ARCHITECTURES.build(config.Arch, "Arch")
    except ModelError as error:
        raise ModelError(f"Arch.pretrained: {error}") from error
    if class_num is not None and network.class_num != class_num:
        raise ConfigError(
            "Arch.class_num",
            f"is {network.class_num}, but CutPaste in transform_ops has {class_num} classes",
        )
    if config.Global.freeze_steps and not hasattr(network, "freeze_backbone"):
        raise ConfigError(
            "Global.freeze_steps",
            f"must be 0: {type(network).__name__} has no freeze_backbone and unfreeze_backbone",
        )
    return network
