"""Layers of a network by path, as a YAML writes them: ``layer4[1].conv1`` or ``layer4.1.conv1``."""

from __future__ import annotations

import re
from collections.abc import Callable

from paddle import nn

from ppcls_sspcab.errors import ConfigError, did_you_mean


def dotted(path: str) -> str:
    """``layer4[1].conv1`` -> ``layer4.1.conv1``, Paddle's own name of the layer."""
    return re.sub(r"\[(\w+)\]", r".\1", path.strip()).lstrip(".")


def bracketed(path: str) -> str:
    """``layer4.1.conv1`` -> ``layer4[1].conv1``."""
    return re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", path)


def find_layer(
    root: nn.Layer, path: str, key: str, hint: Callable[[], str] | None = None
) -> nn.Layer:
    """The layer of ``root`` at ``path``, which has brackets or dots.

    Args:
        key: key of the configuration that holds the path, for the error.
        hint: makes the end of the error's text; the nearest of all layers if None.

    Raises:
        ConfigError: no such layer.
    """
    layers = dict(root.named_sublayers())
    try:
        return layers[dotted(path)]
    except KeyError:
        end = hint() if hint else did_you_mean(path, map(bracketed, layers))
        raise ConfigError(key, f"the backbone has no layer {path!r}{end}") from None


def set_layer(root: nn.Layer, path: str, layer: nn.Layer) -> None:
    """Puts ``layer`` in the place of the existing one at ``path``."""
    parent_path, _, name = dotted(path).rpartition(".")
    parent = dict(root.named_sublayers())[parent_path] if parent_path else root
    parent.add_sublayer(name, layer)
