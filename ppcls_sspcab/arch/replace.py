"""Puts a block such as SSPCAB in the place of a convolution of any backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import paddle
from paddle import nn

from ppcls_sspcab.arch.paths import bracketed, find_layer, set_layer
from ppcls_sspcab.arguments import refuse_misspelt
from ppcls_sspcab.errors import ConfigError, did_you_mean
from ppcls_sspcab.registry import BLOCKS

AUTO = "auto"
_LISTED = 12


def replace_layers(
    backbone: nn.Layer, sections: Mapping[str, Any] | Sequence[Mapping[str, Any]]
) -> list[nn.Layer]:
    """Replaces convolutions of ``backbone`` in place; returns the blocks in the order of the paths.

    Args:
        sections: ``Arch.Block``, one section ``{name: SSPCAB, replace: path or list of paths,
            argument: value}`` or several. ``replace: auto``, the default, is the backbone's own
            ``default_replace``.

    Raises:
        ConfigError: a path that names no layer, or a layer that is no convolution or changes the
            shape of its input; the layers that would do are listed.
    """
    several = not isinstance(sections, Mapping)
    blocks = []
    for number, section in enumerate(sections if several else [sections]):
        section_key = f"Arch.Block.{number}" if several else "Arch.Block"
        if not isinstance(section, Mapping):
            raise ConfigError(section_key, f"must be a mapping with a 'name', not {section!r}")
        arguments = {name: value for name, value in section.items() if name != "replace"}
        refuse_misspelt(arguments, ["replace"], section_key)
        place_key = f"{section_key}.replace"
        for path in _paths(backbone, section.get("replace", AUTO), place_key):
            conv = _replaceable(backbone, path, place_key)
            block = BLOCKS.build(arguments, section_key, channels=conv._out_channels)
            set_layer(backbone, path, block)
            blocks.append(block)
    return blocks


def _paths(backbone: nn.Layer, replace: Any, key: str) -> list[str]:
    paths = [replace] if isinstance(replace, str) else replace
    if not isinstance(paths, (list, tuple)) or not all(isinstance(path, str) for path in paths):
        raise ConfigError(key, f"must be the path of a layer or a list of paths, not {replace!r}")
    default = getattr(backbone, "default_replace", None)
    if not paths:
        raise ConfigError(key, "names no place; without a block, set Arch.Block: null")
    if AUTO in paths and default is None:
        raise ConfigError(
            key, "this backbone has no default place; name a layer" + _hint(backbone, "")
        )
    return [str(default) if path == AUTO else path for path in paths]


def _replaceable(backbone: nn.Layer, path: str, key: str) -> nn.Conv2D:
    layer = find_layer(backbone, path, key, lambda: _hint(backbone, path))
    if not isinstance(layer, nn.Conv2D):
        kind = type(layer).__name__
        raise ConfigError(key, f"{path!r} is a {kind}, no Conv2D" + _hint(backbone, path))
    before, after = _shapes(layer)
    if before != after:
        what = f"{path!r} maps {before} to {after}, but a block keeps the shape of its input"
        raise ConfigError(key, what + _hint(backbone, path))
    return layer


def _shapes(conv: nn.Conv2D) -> tuple[list[int], list[int]]:
    """Shapes [N, C, h, w] of an input and its output, found by running the convolution."""
    with paddle.no_grad():
        before = paddle.zeros([1, conv._in_channels, 32, 32], conv.weight.dtype)
        return list(before.shape), list(conv(before).shape)


def _candidates(backbone: nn.Layer) -> list[str]:
    found = []
    for path, layer in backbone.named_sublayers():
        if isinstance(layer, nn.Conv2D):
            before, after = _shapes(layer)
            if before == after:
                found.append(bracketed(path))
    return found


def _hint(backbone: nn.Layer, path: str) -> str:
    candidates = _candidates(backbone)
    near = did_you_mean(path, candidates)
    if "did you mean" in near or len(candidates) <= _LISTED:
        return near
    last = ", ".join(candidates[-_LISTED:])
    return f"; the last of {len(candidates)} places that would do: {last}"
