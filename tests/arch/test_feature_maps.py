"""Maps from the middle of a network, in eager mode and in a saved graph."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_sspcab.arch.feature_maps import FeatureMaps
from ppcls_sspcab.errors import ConfigError


class Net(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2D(3, 4, 3), nn.ReLU(), nn.Conv2D(4, 2, 3))
        self.features = FeatureMaps(self.body, ["[1]", "2"])

    def forward(self, images: paddle.Tensor) -> list[paddle.Tensor]:
        self.body(images)
        return [self.features.maps["[1]"], self.features.maps["2"]]


def test_collects_what_the_layers_give():
    net = Net()
    x = paddle.rand([2, 3, 8, 8])
    relu, last = net(x)
    np.testing.assert_array_equal(relu.numpy(), np.maximum(net.body[0](x).numpy(), 0))
    np.testing.assert_array_equal(last.numpy(), net.body(x).numpy())
    assert set(net.state_dict()) == {f"body.{n}.{p}" for n in (0, 2) for p in ("weight", "bias")}


def test_survives_jit_save(tmp_path):
    net = Net()
    net.eval()
    x = paddle.rand([2, 3, 8, 8])
    expected = [tensor.numpy() for tensor in net(x)]
    spec = [paddle.static.InputSpec([None, 3, None, None], "float32")]
    static = paddle.jit.to_static(net, input_spec=spec, full_graph=True)
    paddle.jit.save(static, str(tmp_path / "inference"))
    loaded = paddle.jit.load(str(tmp_path / "inference"))
    for found, wanted in zip(loaded(x), expected, strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5, atol=1e-6)


def test_stops_at_the_end_of_the_block():
    body = nn.Sequential(nn.Conv2D(3, 4, 3), nn.ReLU())
    with FeatureMaps(body, ["0"]) as features:
        body(paddle.rand([1, 3, 8, 8]))
    kept = features.maps["0"]
    body(paddle.rand([2, 3, 8, 8]))
    assert features.maps["0"] is kept


def test_a_wrong_path_is_one_clear_error():
    with pytest.raises(ConfigError, match=r"layers: the backbone has no layer 'boddy'.*'body'"):
        FeatureMaps(Net(), ["boddy"])
