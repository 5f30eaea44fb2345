"""The features of a network that image scores and localizers need, out of one forward."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from weakref import WeakKeyDictionary

import paddle
from paddle import nn

from ppcls_sspcab.arch.feature_maps import FeatureMaps
from ppcls_sspcab.arch.modes import evaluation_mode
from ppcls_sspcab.arch.paths import dotted, find_layer
from ppcls_sspcab.errors import ConfigError, did_you_mean

BACKBONE = "backbone."
UNTRAINED = "untrained."

# The features that have a name of their own, and the part of the network that gives them.
NEEDED_PARTS = {
    "images": "embed",
    "embedding": "embed",
    "embedding_max": "backbone",
    "logits": "head",
    "block_input": "blocks",
    "block_output": "blocks",
}


class FeatureReader:
    """Runs a network once and returns the features that were asked for.

    Args:
        network: with ``embed``, and what the names ask for.
        names: of ``embedding`` (always there), float32 [N, D], what ``network.embed`` gives;
            ``embedding_max`` [N, D], the largest value over the places of the backbone's map;
            ``logits`` [N, K], of ``network.head``; ``block_input`` and ``block_output``
            [N, C, h, w], of the last of ``network.blocks``; ``backbone.<path of a layer>``, that
            layer's map [N, C, h, w]; ``untrained.<path>``, the same of the copy in
            ``network.untrained``; and ``images``, the pictures themselves [N, 3, H, W].

    Raises:
        ConfigError: an unknown name, or a feature of a part that the network lacks.
    """

    def __init__(self, network: nn.Layer, names: Iterable[str]) -> None:
        self.network = network
        self.names = sorted({"embedding", *names})
        for name in self.names:
            _require(network, name)
        self._paths = [name for name in self.names if name.startswith(BACKBONE)]
        if "embedding_max" in self.names:
            self._paths.append("backbone")
        self._copied = [
            name.removeprefix(UNTRAINED) for name in self.names if name.startswith(UNTRAINED)
        ]

    def __call__(self, images: paddle.Tensor) -> dict[str, paddle.Tensor]:
        """float32 [N, 3, H, W] -> the features by name."""
        maps = FeatureMaps(self.network, self._paths)
        inputs = FeatureMaps(self.network.backbone, self._copied, inputs=True)
        found = {"embedding": self.network.embed(images)}
        # Hooks that stayed would collect in every detector made of the same network.
        maps.remove()
        inputs.remove()
        for path, given in inputs.maps.items():
            found[UNTRAINED + path] = untrained_layer(self.network, path)(given)
        if "images" in self.names:
            found["images"] = images
        if "embedding_max" in self.names:
            found["embedding_max"] = maps.maps["backbone"].max(axis=[2, 3])
        if "logits" in self.names:
            found["logits"] = self.network.head(found["embedding"])
        if "block_input" in self.names:
            found["block_input"] = self.network.blocks[-1].last[0]
        if "block_output" in self.names:
            found["block_output"] = self.network.blocks[-1].last[1]
        return found | {name: maps.maps[name] for name in self.names if name in maps.maps}

    def shapes(self, image_size: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """The features' shapes for one picture of (H, W), such as (1, D)."""
        known = feature_shapes(self.network, image_size)
        return {name: known[_plain(name)] for name in self.names}


def _require(network: nn.Layer, name: str) -> None:
    if name.startswith(BACKBONE):
        find_layer(network.backbone, name.removeprefix(BACKBONE), "needs")
    elif name.startswith(UNTRAINED):
        untrained_layer(network, name.removeprefix(UNTRAINED))
    elif name not in NEEDED_PARTS:
        known = [*NEEDED_PARTS, f"{BACKBONE}<path of a layer>", f"{UNTRAINED}<path of a layer>"]
        raise ConfigError("needs", f"unknown feature {name!r}{did_you_mean(name, known)}")
    elif not hasattr(network, NEEDED_PARTS[name]) or (
        NEEDED_PARTS[name] == "blocks" and not network.blocks
    ):
        raise ConfigError("Arch", f"gives no {name!r}: its network has no {NEEDED_PARTS[name]}")


def feature_shapes(network: nn.Layer, image_size: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Shapes of everything that :class:`FeatureReader` can give, for one picture of (H, W).

    Layers stand under Paddle's own dotted paths, ``backbone.layer3.1.conv2``. A network is run
    once for a size, on an empty picture, and remembers what was found.
    """
    known = _known_shapes.setdefault(network, {})
    size = (int(image_size[0]), int(image_size[1]))
    if size not in known:
        known[size] = _read_shapes(network, size)
    return known[size]


_known_shapes: WeakKeyDictionary[nn.Layer, dict[tuple[int, int], dict[str, tuple[int, ...]]]] = (
    WeakKeyDictionary()
)


def _read_shapes(network: nn.Layer, size: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    paths = [BACKBONE + path for path, _ in network.backbone.named_sublayers()]
    images = paddle.zeros([1, 3, *size])
    with (
        evaluation_mode(network),
        paddle.no_grad(),
        FeatureMaps(network, ["backbone", *paths]) as collected,
    ):
        embedding = network.embed(images)
        found = {"images": images, "embedding": embedding, **collected.maps}
        if hasattr(network, "head"):
            found["logits"] = network.head(embedding)
        for block in getattr(network, "blocks", []):
            found |= {"block_input": block.last[0], "block_output": block.last[1]}
    shapes = {name: tuple(v.shape) for name, v in found.items() if hasattr(v, "shape")}
    return shapes | {"embedding_max": shapes["backbone"][:2]}


def _plain(name: str) -> str:
    """The layer of the backbone that has the shape of a feature, or the feature itself."""
    for prefix in (BACKBONE, UNTRAINED):
        if name.startswith(prefix):
            return BACKBONE + dotted(name.removeprefix(prefix))
    return name


def untrained_layer(network: nn.Layer, path: str) -> nn.Layer:
    """The copy of a backbone's layer that training leaves as it was.

    Raises:
        ConfigError: the network keeps none of that path.
    """
    paths = getattr(network, "untrained_paths", [])
    if dotted(path) not in paths:
        raise ConfigError("Arch.untrained", f"names no {path!r}, which is to be read untrained")
    return network.untrained[paths.index(dotted(path))]


def layer_feature(network: nn.Layer, path: str, key: str) -> str:
    """The name of a layer's feature, of its untrained copy where the network keeps one.

    Raises:
        ConfigError: a path that names no layer; ``key`` is that of the configuration.
    """
    find_layer(network.backbone, path, key)
    kept = dotted(path) in getattr(network, "untrained_paths", [])
    return (UNTRAINED if kept else BACKBONE) + path


def last_layers(network: nn.Layer, image_size: Sequence[int], strides: Sequence[int]) -> list[str]:
    """For each stride, the last layer of the backbone that gives a map of it, by path.

    Layers at most one level deep are looked at, whole stages before their blocks; a stride that
    none has is left out.
    """
    children = [path for path, _ in network.backbone.named_sublayers() if path.count(".") < 2]
    shapes = feature_shapes(network, image_size)
    found = []
    for stride in strides:
        fitting = [
            path
            for path in children
            if len(shapes.get(BACKBONE + path, ())) == 4
            and round(image_size[0] / shapes[BACKBONE + path][2]) == stride
        ]
        if fitting:
            depth = min(path.count(".") for path in fitting)
            found.append([path for path in fitting if path.count(".") == depth][-1])
    return found
