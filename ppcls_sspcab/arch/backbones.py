"""Backbones: ``paddle.vision.models`` and PaddleClas networks, up to their last feature map.

Every layer keeps the path and the weights the name of the original network. What comes after the
feature map (pooling, classifier) is taken out.
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import paddle
from paddle import nn
from paddle.vision import models

from ppcls_sspcab.arch.feature_maps import FeatureMaps
from ppcls_sspcab.arch.modes import evaluation_mode
from ppcls_sspcab.errors import ModelError, UserError, did_you_mean
from ppcls_sspcab.registry import BACKBONES, UnknownName
from ppcls_sspcab.utils.download import published_weights
from ppcls_sspcab.utils.paddleclas import require_module
from ppcls_sspcab.utils.weights import load_into, read_weights

logger = logging.getLogger(__name__)

# The penultimate 3x3 convolution, where the SSPCAB paper puts the block; the last pointwise one
# where a network has no full 3x3 convolutions.
DEFAULT_REPLACE = {
    "resnet18": "layer4[1].conv1",
    "resnet34": "layer4[2].conv1",
    "resnet50": "layer4[2].conv2",
    "ResNet18": "blocks[7].conv0.conv",
    "ResNet34": "blocks[15].conv0.conv",
    "ResNet50": "blocks[15].conv1.conv",
    "ResNet18_vd": "blocks[7].conv0.conv",
    "MobileNetV1": "blocks[12].pointwise_conv.conv",
    **{
        f"PPLCNet_x{scale}": "blocks6[1].pw_conv.conv"
        for scale in ("0_25", "0_35", "0_5", "0_75", "1_0", "1_5", "2_0", "2_5")
    },
}
# PaddleClas gives the first block of these a 1x1 projection, which ResNet as published, and
# weights in torchvision's shape, do not have.
_WITH_EXTRA_PROJECTION = ("ResNet18", "ResNet34")
_PROJECTION = "blocks.0.short."


def build_backbone(section: Mapping[str, Any], pretrained: bool | str = False) -> nn.Layer:
    """Builds a registered backbone, or any convolutional one that PaddleClas has by that name.

    Args:
        section: ``{name: ..., argument: value}``, the section ``Arch.Backbone``.
        pretrained: as ``Arch.pretrained``, where the section does not say.

    Raises:
        ConfigError: an unknown name or argument, or a network without a feature map.
        ModelError: weights that cannot be had or do not fit.
    """
    key = "Arch.Backbone"
    name = section.get("name") if isinstance(section, Mapping) else None
    if isinstance(name, str) and name not in BACKBONES.names():
        try:
            known = _paddleclas_builders()
        except UserError as error:
            note = f"; {_not_importable(error)}"
            raise UnknownName(f"{key}.name", "backbone", name, BACKBONES.names(), note) from error
        if name not in known:
            raise UnknownName(f"{key}.name", "backbone", name, [*BACKBONES.names(), *known])
        _register_paddleclas(name)
    return BACKBONES.build(section, key, pretrained=pretrained)


def _register_vision(name: str) -> None:
    def build(pretrained: bool | str = False) -> nn.Layer:
        """A ResNet of ``paddle.vision.models``.

        Args:
            pretrained: as ``Arch.pretrained``, in whose place it stands.
        """
        if pretrained is True:
            pretrained = _fetched(name, *models.resnet.model_urls[name])
        layer = _built(name, getattr(models, name), num_classes=0, with_pool=False)
        return _finish(layer, name, pretrained)

    BACKBONES.register_as(name)(build)


def _register_paddleclas(name: str) -> None:
    def build(
        pretrained: bool | str = False, stop_after: str | None = None, **kwargs: Any
    ) -> nn.Layer:
        """A convolutional network of PaddleClas; further keys are arguments of its function.

        Args:
            pretrained: as ``Arch.pretrained``, in whose place it stands.
            stop_after: the direct sublayer that gives the feature map, where it is not the one
                before the global pooling.
        """
        try:
            builder = _paddleclas_builders()[name]
        except UserError as error:
            raise ModelError(f"backbone {name}: {_not_importable(error)}") from error
        if name in _WITH_EXTRA_PROJECTION:
            kwargs.setdefault("use_first_short_conv", False)
            if pretrained is True and not kwargs["use_first_short_conv"]:
                raise ValueError(_projection_hint(f"PaddleClas's published weights of {name}"))
        if pretrained is True:
            pretrained = _fetched(name, _paddleclas_url(name, builder, kwargs), None)
        with _quiet_paddleclas():
            layer = _built(name, builder, pretrained=False, **kwargs)
        _refuse_swallowed(kwargs, builder, layer)
        _cut_after_features(layer, name, stop_after)
        return _finish(layer, name, pretrained)

    BACKBONES.register_as(name)(build)


for _name in ("resnet18", "resnet34", "resnet50"):
    _register_vision(_name)
for _name in ("ResNet18", "ResNet34", "ResNet50", "ResNet18_vd", "MobileNetV1", "PPLCNet_x1_0"):
    _register_paddleclas(_name)


def _finish(layer: nn.Layer, name: str, pretrained: bool | str) -> nn.Layer:
    shape = _output_shape(layer, name)
    if len(shape) != 4:
        raise ValueError(f"{name} gives an output of shape {shape}, no feature map [N, C, h, w]")
    layer.num_features = shape[1]
    layer.default_replace = DEFAULT_REPLACE.get(name)
    layer.load_report = None
    if isinstance(pretrained, str):
        report = load_into(layer, read_weights(pretrained), pretrained)
        if any(tensor.startswith(_PROJECTION) for tensor in report.unexpected):
            raise ValueError(_projection_hint(pretrained))
        layer.load_report = report
        logger.info("%s: %s", pretrained, report.summary())
    return layer


def _output_shape(layer: nn.Layer, name: str) -> list[int]:
    """The shape of the backbone's output for one black picture of 64 x 64 pixels."""
    try:
        with evaluation_mode(layer), paddle.no_grad():
            return list(layer(paddle.zeros([1, 3, 64, 64])).shape)
    except Exception as error:  # whatever a foreign network raises on losing its classifier
        raise ValueError(f"{name} gives no feature map: {error}") from error


def _refuse_swallowed(kwargs: dict[str, Any], builder: Callable[..., Any], layer: nn.Layer) -> None:
    """PaddleClas's networks take any keyword and ignore those that they do not know."""
    known = {*inspect.signature(builder).parameters, *inspect.signature(type(layer)).parameters}
    for name in kwargs:
        if name not in known:
            raise ValueError(f"unknown key {name!r}{did_you_mean(name, known)}")


def _cut_after_features(layer: nn.Layer, name: str, stop_after: str | None) -> None:
    """Puts identities in the places of the direct sublayers behind the feature map."""
    children = dict(layer.named_children())
    names = list(children)
    pools = [n for n, child in children.items() if isinstance(child, nn.AdaptiveAvgPool2D)]
    if stop_after in children:
        after = names[names.index(stop_after) + 1 :]
    elif stop_after is not None:
        hint = did_you_mean(stop_after, names)
        raise ValueError(f"stop_after: {name} has no sublayer {stop_after!r}{hint}")
    elif pools:
        after = names[names.index(pools[-1]) :]
    else:
        raise ValueError(
            f"{name} has no global pooling to cut at; name the sublayer that gives its last "
            f"feature map as stop_after{did_you_mean('', names)}"
        )
    for path in after:
        layer.add_sublayer(path, nn.Identity())
    if after and len(_output_shape(layer, name)) != 4:
        # It flattens by a function, which cannot be taken out: give what went into that instead.
        features = FeatureMaps(layer, after[:1])
        layer.register_forward_post_hook(lambda *_: features.maps[after[0]])


def _paddleclas_builders() -> dict[str, Callable[..., nn.Layer]]:
    members = inspect.getmembers(_paddleclas_module(), inspect.isfunction)
    return {name: member for name, member in members if name[0].isupper()}


def _paddleclas_module() -> ModuleType:
    """PaddleClas's module of backbones. Raises UserError if it cannot be imported."""
    with _root_logger_kept():
        module = require_module("arch.backbone")
        log: Any = require_module("utils.logger")
    if log._logger is None:  # its networks log while they are built
        log.init_logger()
    return module


@contextmanager
def _root_logger_kept() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@contextmanager
def _quiet_paddleclas() -> Iterator[None]:
    log = logging.getLogger("ppcls")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _built(name: str, builder: Callable[..., nn.Layer], /, **arguments: Any) -> nn.Layer:
    try:
        return builder(**arguments)
    except (TypeError, AssertionError) as error:
        raise ValueError(f"{name} refuses its arguments: {error}") from error


def _fetched(name: str, url: str, md5: str | None) -> str:
    """The file of the published weights: the libraries' own loading would unpickle anything."""
    try:
        return published_weights(url, md5)
    except ModelError as error:
        raise ModelError(
            f"backbone {name}: {error}; set Arch.pretrained to the path of a .safetensors or "
            ".pdparams file, or train from scratch, as configs/from_scratch.yaml does"
        ) from error


def _paddleclas_url(name: str, builder: Callable[..., Any], kwargs: Mapping[str, Any]) -> str:
    urls = getattr(sys.modules[builder.__module__], "MODEL_URLS", {})
    if not str(urls.get(name, "")).startswith("http"):
        raise ValueError(f"PaddleClas publishes no weights of {name}: set Arch.pretrained: false")
    url = str(urls[name])
    distilled = kwargs.get("use_ssld") and "ssld" not in url
    return url.replace("_pretrained", "_ssld_pretrained") if distilled else url


def _not_importable(error: UserError) -> str:
    return (
        f"{error}; pip install paddleclas (Python 3.10 and 3.11), for a missing libGL or glib also "
        "the system packages libgl1 and libglib2.0-0; or use resnet18, resnet34 or resnet50, which "
        "need neither"
    )


def _projection_hint(weights: str) -> str:
    return (
        f"{weights} hold a projection in blocks[0] that is not built by default; "
        "set use_first_short_conv: true"
    )
