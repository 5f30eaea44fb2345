"""Backbones: paddle.vision's, and PaddleClas's where it can be imported."""

import logging
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle.vision import models

from ppcls_sspcab.arch import backbones
from ppcls_sspcab.arch.backbones import DEFAULT_REPLACE, build_backbone
from ppcls_sspcab.arch.feature_maps import FeatureMaps
from ppcls_sspcab.arch.replace import replace_layers
from ppcls_sspcab.errors import ConfigError, ModelError, UserError
from ppcls_sspcab.registry import BACKBONES
from ppcls_sspcab.utils import paddleclas as utils_paddleclas
from ppcls_sspcab.utils.weights import write_pdparams, write_safetensors

SHARED = Path(__file__).resolve().parents[3] / "shared" / "weights"


@pytest.fixture(scope="module")
def paddleclas():
    try:
        return backbones._paddleclas_module()
    except UserError as error:
        pytest.skip(f"PaddleClas cannot be imported here: {error}")


def arrays_of(layer):
    return {name: tensor.numpy() for name, tensor in layer.state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "channels"), [("resnet18", 512), ("resnet50", 2048)])
def test_vision_backbone_is_the_model_up_to_its_pooling(name, channels):
    whole = getattr(models, name)()
    backbone = build_backbone({"name": name})
    assert backbone.num_features == channels
    names = {n for n in whole.state_dict() if not n.startswith("fc.")}
    assert set(backbone.state_dict()) == names
    backbone.set_state_dict(whole.state_dict())
    whole.eval()
    backbone.eval()
    images = paddle.rand([2, 3, 64, 32])
    features = backbone(images)
    assert features.shape == [2, channels, 2, 1]
    logits = whole.fc(features.mean([2, 3]))
    np.testing.assert_allclose(logits.numpy(), whole(images).numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", [n for n in DEFAULT_REPLACE if n.startswith("resnet")])
def test_default_place_of_vision_backbones(name):
    (block,) = replace_layers(build_backbone({"name": name}), {"name": "SSPCAB"})
    assert block.channels == 512


@pytest.mark.parametrize("name", [n for n in DEFAULT_REPLACE if not n.startswith("resnet")])
def test_paddleclas_backbone_has_a_feature_map_and_a_default_place(paddleclas, name):
    backbone = build_backbone({"name": name})
    (block,) = replace_layers(backbone, {"name": "SSPCAB"})
    features = backbone(paddle.rand([1, 3, 64, 96]))
    assert features.shape == [1, backbone.num_features, 2, 3]
    assert block.last[1] is not None
    assert not any(n.startswith(("fc.", "last_conv.")) for n in backbone.state_dict())


def test_paddleclas_backbone_is_the_model_up_to_its_pooling(paddleclas):
    whole = paddleclas.MobileNetV1(class_num=5)
    backbone = build_backbone({"name": "MobileNetV1"})
    backbone.set_state_dict({n: t for n, t in whole.state_dict().items() if "fc" not in n})
    whole.eval()
    backbone.eval()
    images = paddle.rand([1, 3, 64, 64])
    logits = whole.fc(backbone(images).mean([2, 3]))
    np.testing.assert_allclose(logits.numpy(), whole(images).numpy(), rtol=1e-3, atol=1e-4)


def test_any_other_paddleclas_backbone_by_its_name(paddleclas):
    assert build_backbone({"name": "MobileNetV2_x0_25"}).num_features == 1280
    net = build_backbone({"name": "MobileNetV3_small_x0_35", "stop_after": "blocks"})
    assert net(paddle.rand([1, 3, 64, 32])).shape == [1, net.num_features, 2, 1]
    assert not any(name.startswith("last") for name in net.state_dict())


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"name": "MobileNetV9"}, "unknown backbone 'MobileNetV9'; did you mean 'MobileNetV"),
        ({"name": "ResNet18", "lr_mul_list": [1]}, "unknown key 'lr_mul_list'; did you mean"),
        ({"name": "MobileNetV1", "stop_after": "block"}, "did you mean 'blocks'"),
        ({"name": "VGG11"}, "no global pooling to cut at"),
        ({"name": "ResNet18", "pretrained": True}, "set use_first_short_conv: true"),
    ],
)
def test_wrong_paddleclas_sections(paddleclas, section, message):
    with pytest.raises(ConfigError, match=message):
        build_backbone(section)


def test_extra_projection_is_built_only_when_asked_for(paddleclas, tmp_path):
    plain = build_backbone({"name": "ResNet18"})
    assert not any(n.startswith("blocks.0.short") for n in plain.state_dict())
    section = {"name": "ResNet18", "use_first_short_conv": True}
    extra = build_backbone(section)
    path = str(tmp_path / "weights.pdparams")
    write_pdparams(path, arrays_of(extra))
    with pytest.raises(ConfigError, match="set use_first_short_conv: true"):
        build_backbone({"name": "ResNet18"}, path)
    loaded = build_backbone(section, path)
    assert loaded.load_report.missing == ()


def test_importing_paddleclas_leaves_the_root_logger_alone(paddleclas):
    names = {type(handler).__module__ for handler in logging.getLogger().handlers}
    assert all(name.startswith(("_pytest", "pytest")) for name in names)


def test_without_paddleclas_its_backbones_say_what_to_install(monkeypatch):
    def missing(name):
        raise ImportError("libGL.so.1: cannot open shared object file")

    monkeypatch.setattr(utils_paddleclas, "_bound", [])
    monkeypatch.setattr(utils_paddleclas.importlib, "import_module", missing)
    with pytest.raises(ModelError, match=r"libGL\.so\.1.*pip install paddleclas.*use resnet18"):
        build_backbone({"name": "ResNet18"})
    with pytest.raises(ConfigError, match=r"unknown backbone 'resnet19'; did you mean 'resnet18'"):
        build_backbone({"name": "resnet19"})


@pytest.mark.parametrize("suffix", ["safetensors", "pdparams"])
def test_weights_from_a_file_and_what_it_lacks(tmp_path, caplog, suffix):
    given = arrays_of(models.resnet18())
    given = {n: a for n, a in given.items() if not n.startswith("layer4")}
    path = str(tmp_path / f"weights.{suffix}")
    (write_safetensors if suffix == "safetensors" else write_pdparams)(path, given)
    with caplog.at_level(logging.INFO):
        net = build_backbone({"name": "resnet18"}, path)
    for name, array in arrays_of(net).items():
        if name in given:
            np.testing.assert_array_equal(array, given[name])
    assert all(name.startswith("layer4.") for name in net.load_report.missing)
    assert sorted(net.load_report.unexpected) == ["fc.bias", "fc.weight"]
    assert "loaded 75 of 100 tensors" in caplog.text
    assert build_backbone({"name": "resnet18", "pretrained": False}, path).load_report is None


def test_offline_the_error_says_to_give_a_path(monkeypatch):
    def offline(*_arguments, **_options):
        raise RuntimeError("Downloading failed! Retry limit reached")

    monkeypatch.setattr("paddle.vision.models.resnet.get_weights_path_from_url", offline)
    with pytest.raises(ModelError, match=r"resnet18: .*Retry limit.* set Arch\.pretrained to the"):
        build_backbone({"name": "resnet18"}, True)


def test_a_backbone_may_be_replaced_by_a_plugin():
    assert {"resnet18", "resnet34", "resnet50", "ResNet18"} <= set(BACKBONES.names())
    with pytest.raises(ValueError, match="already registered"):
        BACKBONES.register_as("resnet18")(arrays_of)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared weights are not there")
def test_the_same_weights_under_both_names_give_the_same_features(paddleclas):
    images = paddle.rand([1, 3, 64, 64])
    maps = []
    for name, file, layer in (
        ("resnet18", "resnet18_vision_to_layer3.safetensors", "layer3"),
        ("ResNet18", "ResNet18_to_layer3.pdparams", "blocks[5]"),
    ):
        net = build_backbone({"name": name}, str(SHARED / file))
        net.eval()
        with FeatureMaps(net, [layer]) as features:
            net(images)
        maps.append(features.maps[layer].numpy())
    np.testing.assert_allclose(maps[0], maps[1], rtol=1e-4, atol=1e-5)
