"""The whole network: outputs, weights, and what stays frozen."""

import copy

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.vision.models import resnet18

from ppcls_sspcab.arch.features import FeatureReader, layer_feature
from ppcls_sspcab.arch.network import CutPasteNet
from ppcls_sspcab.arch.sspcab import SSPCAB
from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.loss.combined import CombinedLoss
from ppcls_sspcab.registry import ARCHITECTURES, BACKBONES
from ppcls_sspcab.utils.weights import write_safetensors


@BACKBONES.register_as("tiny_backbone_of_test_network")
def _tiny(pretrained: bool | str = False, width: int = 6) -> nn.Layer:
    net = nn.Sequential(
        nn.Conv2D(3, width, 3, stride=2, padding=1),
        nn.BatchNorm2D(width),
        nn.ReLU(),
        nn.Conv2D(width, width, 3, padding=1),
        # PaddleClas's normalisation keeps its statistics among the parameters.
        nn.BatchNorm(width),
        nn.Dropout(0.5),
    )
    net.num_features = width
    net.default_replace = "[3]"
    return net


TINY = {"name": "tiny_backbone_of_test_network"}
HEAD = {"name": "ProjectionHead", "hidden_size": 8, "bottleneck": 4}
BLOCK = {"name": "SSPCAB", "reduction": 1}


def tiny(**kwargs) -> CutPasteNet:
    paddle.seed(5)
    return CutPasteNet(**{"Backbone": TINY, "Block": BLOCK, "Head": HEAD, **kwargs})


def step(net: nn.Layer, optimizer: paddle.optimizer.Optimizer) -> None:
    label = paddle.to_tensor([[0], [1], [2], [0]])
    loss = CombinedLoss([{"CELoss": {"weight": 1.0}}, {"SSPCABLoss": {"weight": 0.1}}])
    loss(net(paddle.rand([4, 3, 16, 16])), label)["loss"].backward()
    optimizer.step()
    optimizer.clear_grad()


def changed(net: nn.Layer, steps: int = 2) -> set[str]:
    """Names of the tensors that training changes; the network is driven from outside its train."""
    before = {name: tensor.numpy().copy() for name, tensor in net.state_dict().items()}
    trained = [p for p in net.parameters() if p.trainable]
    optimizer = paddle.optimizer.Momentum(0.1, parameters=trained)
    wrapper = nn.Sequential(net)  # a wrapper sets every layer's mode by itself
    wrapper.train()
    for _ in range(steps):
        step(wrapper, optimizer)
    after = net.state_dict()
    return {name for name, array in before.items() if (after[name].numpy() != array).any()}


def test_outputs():
    net = tiny()
    net.eval()
    images = paddle.rand([4, 3, 16, 24])
    output = net(images, paddle.zeros([4, 1], "int64"))
    assert set(output) == {"logits", "embedding", "sspcab"}
    assert output["logits"].shape == [4, 3]
    feature_map = net.feature_map(images)
    assert feature_map.shape == [4, 6, 8, 12]
    expected = feature_map.numpy().mean((2, 3))
    np.testing.assert_allclose(output["embedding"].numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(net.embed(images).numpy(), expected, rtol=1e-5, atol=1e-6)
    ((source, predicted),) = output["sspcab"]
    assert source.shape == predicted.shape == [4, 6, 8, 12]
    np.testing.assert_allclose(net.blocks[0](source).numpy(), predicted.numpy(), atol=1e-6)


def test_without_a_block_and_with_other_classes():
    net = tiny(Block=None, class_num=2)
    output = net(paddle.rand([2, 3, 16, 16]))
    assert output["sspcab"] == []
    assert output["logits"].shape == [2, 2]


def test_every_parameter_learns():
    net = tiny()
    names = {name for name, p in net.named_parameters() if not p.stop_gradient}
    statistics = {f"backbone.{n}.{s}" for n in (1, 4) for s in ("_mean", "_variance")}
    moved = changed(net)
    assert statistics <= moved
    silent = {"backbone.0.bias"}  # the normalisation takes it away again
    assert names - silent <= moved


def test_warm_up_holds_parameters_and_statistics_but_not_the_block():
    net = tiny()
    net.freeze_backbone()
    net.freeze_backbone()
    assert not net.backbone[5].training
    moved = changed(net)
    held = {name for name in net.state_dict() if name.startswith("backbone.")}
    held -= {name for name in held if name.startswith("backbone.3.")}
    assert len(held) == 10
    assert not held & moved
    assert {"backbone.3.conv.weight", "head.classifier.weight"} <= moved
    net.unfreeze_backbone()
    net.unfreeze_backbone()
    assert net.backbone[5].training
    moved = changed(net)
    assert {"backbone.0.weight", "backbone.1._mean", "backbone.4._mean"} <= moved


def test_running_statistics_never_become_trainable():
    net = tiny()
    net.freeze_backbone()
    net.unfreeze_backbone()
    assert net.backbone[4]._mean.stop_gradient
    assert not net.backbone[4].weight.stop_gradient


def test_frozen_for_good_stays_so_after_the_warm_up():
    net = tiny(freeze=["0", "[1]"])
    net.freeze_backbone()
    net.unfreeze_backbone()
    net.train()
    assert not net.backbone[1].training
    assert net.backbone[4].training
    moved = changed(net)
    assert not {name for name in moved if name.startswith(("backbone.0.", "backbone.1."))}
    assert "backbone.4._mean" in moved


def test_a_copy_freezes_its_own_layers():
    net = tiny(freeze=["1"])
    net(paddle.rand([2, 3, 16, 16]))
    twin = copy.deepcopy(net)
    twin.freeze_backbone()
    assert not twin.backbone[4].training
    assert net.backbone[4].training
    assert not net.backbone[4].weight.stop_gradient


def test_pretrained_weights_are_loaded_before_the_block_takes_its_place(tmp_path):
    source = resnet18(num_classes=0, with_pool=False)
    arrays = {name: tensor.numpy() for name, tensor in source.state_dict().items()}
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, arrays)
    net = CutPasteNet({"name": "resnet18"}, BLOCK, pretrained=str(path), freeze=["conv1", "layer1"])
    assert net.embedding_size == 512
    assert isinstance(net.backbone.layer4[1].conv1, SSPCAB)
    state = net.backbone.state_dict()
    own = {name for name in state if name not in arrays}
    assert {name.rsplit(".", 2)[0] for name in own} <= {
        "layer4.1.conv1",
        "layer4.1.conv1.attention",
    }
    for name in state.keys() - own:
        np.testing.assert_array_equal(state[name].numpy(), arrays[name], err_msg=name)
    assert net.backbone.load_report.missing == ()
    net.train()
    assert not net.backbone.layer1[0].bn1.training
    assert net(paddle.rand([2, 3, 32, 32]))["logits"].shape == [2, 3]


@pytest.mark.slow
def test_trains_and_saves_as_a_static_graph(tmp_path):
    net = tiny()
    net.eval()
    images = paddle.rand([2, 3, 16, 16])
    expected = net(images)
    net.train()
    spec = [paddle.static.InputSpec([None, 3, None, None], "float32")]
    static = paddle.jit.to_static(net, input_spec=spec, full_graph=True)
    static(images)["logits"].sum().backward()
    assert float(net.head.classifier.weight.grad.abs().sum()) > 0
    static.eval()
    net.set_state_dict(tiny().state_dict())
    paddle.jit.save(static, str(tmp_path / "inference"))
    assert "pd_op.pad" not in (tmp_path / "inference.json").read_text()  # exporters get it wrong
    loaded = paddle.jit.load(str(tmp_path / "inference"))
    embedding = loaded(images)[0].numpy()  # sorted by key
    np.testing.assert_allclose(embedding, expected["embedding"].numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "key", "message"),
    [
        ({"freeze": ["layr1"]}, "Arch.freeze", "no layer 'layr1'"),
        ({"Backbone": {"name": "resnet19"}}, "Arch.Backbone.name", "unknown backbone 'resnet19'"),
        ({"Backbone": {**TINY, "widht": 3}}, "Arch.Backbone.widht", "did you mean 'width'"),
        ({"Head": {"name": "Projection"}}, "Arch.Head.name", "did you mean 'ProjectionHead'"),
        ({"pretrianed": True}, "Arch.pretrianed", "did you mean 'pretrained'"),
        ({"Block": {"name": "SSPCA"}}, "Arch.Block.name", "did you mean 'SSPCAB'"),
    ],
)
def test_a_wrong_section_is_one_clear_error(arguments, key, message):
    section = {"name": "CutPasteNet", "Backbone": TINY, "Head": HEAD, **arguments}
    with pytest.raises(ConfigError, match=message) as caught:
        ARCHITECTURES.build(section, "Arch")
    assert caught.value.key == key


def test_keys_of_paddleclas_are_taken():
    section = {"name": "CutPasteNet", "Backbone": TINY, "Head": HEAD, "infer_output_key": "logits"}
    assert ARCHITECTURES.build(section, "Arch").blocks == []


def test_a_layer_kept_untrained_gives_what_it_gave_before_training():
    paddle.seed(3)
    net = tiny(freeze=["[0]", "[1]"], untrained=["[3]"])
    images = paddle.rand([2, 3, 16, 16])
    stem = nn.Sequential(*list(net.backbone.children())[:3])
    stem.eval()
    before = net.untrained[0](stem(images)).numpy()
    names = changed(net)
    assert names and not any(name.startswith("untrained.") for name in names)
    net.eval()
    found = FeatureReader(net, ["untrained.3", "backbone.3"])(images)
    np.testing.assert_array_equal(found["untrained.3"].numpy(), before)
    assert not np.allclose(found["backbone.3"].numpy(), before)


def test_the_untrained_copy_is_of_the_layer_before_a_block_took_its_place():
    net = tiny(freeze=["[0]", "[1]"], untrained=["[3]"])
    assert isinstance(net.backbone[3], SSPCAB)
    assert isinstance(net.untrained[0], nn.Conv2D)


def test_a_layer_behind_trained_ones_cannot_be_kept_untrained():
    with pytest.raises(ConfigError, match=r"Arch\.untrained: '3' reads what '1' gives"):
        tiny(freeze=["[0]"], untrained=["[3]"])
    with pytest.raises(ConfigError, match=r"Arch\.untrained: the backbone has no layer"):
        tiny(untrained=["[33]"])


def test_neighbourhood_features_read_the_untrained_copy():
    net = tiny(freeze=["[0]", "[1]"], untrained=["[3]"])
    assert layer_feature(net, "[3]", "layers") == "untrained.[3]"
    assert layer_feature(net, "[0]", "layers") == "backbone.[0]"
    assert FeatureReader(net, ["untrained.[3]"]).shapes([16, 16])["untrained.[3]"] == (1, 6, 8, 8)
    with pytest.raises(ConfigError, match=r"Arch\.untrained: names no '\[0\]'"):
        FeatureReader(net, ["untrained.[0]"])
