"""Feature maps from the middle of a network, for anomaly maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import paddle
from paddle import nn

from ppcls_sspcab.arch.paths import find_layer


class FeatureMaps:
    """Collects the outputs of layers during every forward of the network they belong to.

    It holds no parameters and changes no names. A network that reads ``maps`` in its own forward
    also keeps them in a graph written by ``paddle.jit.save``. As a context manager it stops
    collecting at the end of the block.

    Args:
        paths: paths of layers below the network, such as ``["layer2", "layer3[1].conv2"]``.
        inputs: collect what goes into the layers instead.

    Attributes:
        maps: output, or input, by path as given, float [N, C, h, w]; replaced in every forward.

    Raises:
        ConfigError: a path that names no layer.
    """

    def __init__(self, network: nn.Layer, paths: Sequence[str], inputs: bool = False) -> None:
        layers = [find_layer(network, path, "layers") for path in paths]
        self.maps: dict[str, paddle.Tensor] = {}
        self._hooks = [
            layer.register_forward_post_hook(_collector(self.maps, path, inputs))
            for path, layer in zip(paths, layers, strict=True)
        ]

    def remove(self) -> None:
        """Stops collecting; the maps of the last forward stay."""
        for hook in self._hooks:
            hook.remove()

    def __enter__(self) -> FeatureMaps:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def _collector(maps: dict[str, paddle.Tensor], path: str, of_input: bool) -> Callable[..., None]:
    def collect(_layer: nn.Layer, inputs: tuple[paddle.Tensor], output: paddle.Tensor) -> None:
        maps[path] = inputs[0] if of_input else output

    return collect
