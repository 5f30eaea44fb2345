"""Placing blocks in backbones by layer path."""

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.vision.models import resnet18

from ppcls_sspcab.arch.replace import replace_layers
from ppcls_sspcab.arch.sspcab import SSPCAB
from ppcls_sspcab.errors import ConfigError


def count(layer: nn.Layer) -> int:
    return sum(parameter.size for parameter in layer.parameters())


@pytest.fixture(scope="module")
def shared_net():
    """Only for tests that change nothing."""
    return resnet18(num_classes=0, with_pool=False)


@pytest.mark.parametrize("path", ["layer1[1].conv1", "layer1.1.conv1"])
def test_takes_the_place_and_leaves_no_dead_parameters(path):
    net = resnet18(num_classes=0, with_pool=False)
    before, conv = count(net), net.layer1[1].conv1
    (block,) = replace_layers(net, {"name": "SSPCAB", "replace": path, "dilation": 2})
    assert net.layer1[1].conv1 is block
    assert (block.channels, block.padding) == (64, 3)
    assert count(net) == before - count(conv) + count(SSPCAB(64))
    assert not any(layer is conv for layer in net.sublayers())
    net(paddle.rand([1, 3, 32, 32]))
    assert block.last[1].shape == [1, 64, 8, 8]


def test_several_places_and_sections():
    net = resnet18(num_classes=0, with_pool=False)
    sections = [
        {"name": "SSPCAB", "replace": ["layer1[0].conv2", "layer2[1].conv2"]},
        {"name": "SSPCAB", "replace": "layer3[1].conv1", "reduction": 4},
    ]
    blocks = replace_layers(net, sections)
    assert blocks == [net.layer1[0].conv2, net.layer2[1].conv2, net.layer3[1].conv1]
    assert blocks[2].attention.squeeze.weight.shape[0] == 256 // 4


def test_auto_takes_the_backbones_own_place():
    net = nn.Sequential(nn.Conv2D(3, 4, 3), nn.Conv2D(4, 4, 3, padding=1))
    net.default_replace = "[1]"
    (block,) = replace_layers(net, {"name": "SSPCAB"})
    assert net[1] is block
    assert net(paddle.rand([1, 3, 9, 9])).shape == [1, 4, 7, 7]


def test_a_replaced_network_differs_only_behind_the_block():
    net = resnet18(num_classes=0, with_pool=False)
    net.eval()
    x = paddle.rand([1, 3, 32, 32])
    before = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(x))))).numpy()
    replace_layers(net, {"name": "SSPCAB", "replace": "layer2[1].conv1"})
    after = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(x))))).numpy()
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("replace", "message"),
    [
        ("layer4[1].conv7", r"no layer 'layer4\[1\]\.conv7'; did you mean 'layer4\[1\]\.conv"),
        ("layer5[0].conv1", r"no layer .*; did you mean"),
        ("xyz", r"no layer 'xyz'; .*layer4\[1\]\.conv2"),
        ("layer4[1]", r"is a BasicBlock, no Conv2D; .*layer4\[1\]\.conv"),
        ("layer4[0].conv1", r"maps \[1, 256, 32, 32\] to \[1, 512, 16, 16\].*layer4\[\d\]\.conv\d"),
        ("conv1", "keeps the shape"),
        (3, "must be the path of a layer or a list of paths"),
        ("auto", "no default place"),
    ],
)
def test_a_wrong_place_is_one_clear_error(shared_net, replace, message):
    before = count(shared_net)
    with pytest.raises(ConfigError, match=message) as caught:
        replace_layers(shared_net, {"name": "SSPCAB", "replace": replace})
    assert caught.value.key == "Arch.Block.replace"
    assert count(shared_net) == before


def test_a_place_cannot_be_taken_twice():
    net = nn.Sequential(nn.Conv2D(4, 4, 1))
    with pytest.raises(ConfigError, match="is a SSPCAB, no Conv2D"):
        replace_layers(net, {"name": "SSPCAB", "replace": ["0", "0"]})


def test_a_wrong_argument_names_its_section():
    net = nn.Sequential(nn.Conv2D(4, 4, 1))
    sections = [{"name": "SSPCAB", "replace": "0", "reducton": 4}]
    with pytest.raises(ConfigError, match="did you mean 'reduction'") as caught:
        replace_layers(net, sections)
    assert caught.value.key == "Arch.Block.0.reducton"
