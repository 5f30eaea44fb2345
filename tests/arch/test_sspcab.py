"""The SSPCAB block against the equations of its paper, written out in numpy."""

import copy
import itertools

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_sspcab.arch.sspcab import SSPCAB

SIZES = [(4, 1, 1, 2), (3, 1, 2, 8), (2, 2, 1, 1), (5, 3, 2, 4), (1, 2, 3, 8)]


def reference(block: SSPCAB, x: np.ndarray, side: int, dilation: int) -> np.ndarray:
    """Zero-pad by k' + d, four corner kernels, sum, ReLU, squeeze-and-excitation."""
    arrays = {name: tensor.numpy().astype(np.float64) for name, tensor in block.named_parameters()}
    n, channels, height, width = x.shape
    pad, field = side + dilation, 2 * side + 2 * dilation + 1
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    corners = np.split(arrays["conv.weight"], 4, axis=1)
    origins = list(itertools.product((0, field - side), repeat=2))
    summed = np.zeros((n, channels, height, width))
    for row, column in itertools.product(range(height), range(width)):
        for kernel, (top, left) in zip(corners, origins, strict=True):
            window = padded[
                :, :, row + top : row + top + side, column + left : column + left + side
            ]
            summed[:, :, row, column] += np.einsum("nchw,ochw->no", window, kernel)
    predicted = np.maximum(summed + arrays["conv.bias"][:, None, None], 0)
    squeezed = predicted.mean((2, 3)) @ arrays["attention.squeeze.weight"][..., 0, 0].T
    excited = np.maximum(squeezed, 0) @ arrays["attention.excite.weight"][..., 0, 0].T
    return predicted / (1 + np.exp(-excited))[:, :, None, None]


def random_block(channels: int, side: int, dilation: int, reduction: int, form: str) -> SSPCAB:
    paddle.seed(7)
    block = SSPCAB(channels, side, dilation, reduction, form)
    block.conv.bias.set_value(paddle.linspace(-0.3, 0.5, channels))
    return block


@pytest.mark.parametrize("form", ["sliced", "masked"])
@pytest.mark.parametrize(("channels", "side", "dilation", "reduction"), SIZES)
def test_equals_the_papers_equations(channels, side, dilation, reduction, form):
    block = random_block(channels, side, dilation, reduction, form)
    x = np.random.default_rng(0).normal(size=(2, channels, 5, 7)).astype(np.float32)
    expected = reference(block, x, side, dilation)
    assert block(paddle.to_tensor(x)).shape == list(x.shape)
    np.testing.assert_allclose(block.last[1].numpy(), expected, rtol=1e-5, atol=1e-5)
    block.eval()
    np.testing.assert_allclose(block(paddle.to_tensor(x)).numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("channels", "side", "dilation", "reduction"), SIZES)
def test_both_forms_have_the_same_parameters_and_gradients(channels, side, dilation, reduction):
    x = np.random.default_rng(1).normal(size=(2, channels, 6, 4)).astype(np.float32)
    gradients = []
    for form in ("sliced", "masked"):
        block = random_block(channels, side, dilation, reduction, form)
        image = paddle.to_tensor(x, stop_gradient=False)
        (block(image) ** 2).sum().backward()
        named = dict(block.named_parameters())
        gradients.append({name: p.grad.numpy() for name, p in named.items()} | {"x": image.grad})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        np.testing.assert_allclose(gradient, gradients[1][name], rtol=1e-4, atol=1e-5)


def test_does_not_see_the_place_it_predicts():
    block = SSPCAB(3, kernel_size=2, dilation=2)
    x = paddle.rand([1, 3, 9, 9])
    x.stop_gradient = False
    predicted = block._sliced(x)
    predicted[:, :, 4, 4].sum().backward()
    seen = (x.grad.abs().sum(axis=[0, 1]) > 0).numpy()
    corner = np.zeros(9, bool)
    corner[[0, 1, 7, 8]] = True
    assert (seen == np.outer(corner, corner)).all()


def test_keeps_the_last_pair_outside_its_state():
    block = SSPCAB(2)
    names = set(block.state_dict())
    assert block.last[0] is None
    x = paddle.rand([1, 2, 4, 4])
    output = block(x)
    assert block.last[0] is x
    assert block.last[1] is output
    assert set(block.state_dict()) == names
    assert not block.buffers()
    assert copy.deepcopy(block).last[1] is None


@pytest.mark.parametrize("name", ["channels", "kernel_size", "dilation", "reduction"])
def test_refuses_a_size_below_one(name):
    with pytest.raises(ValueError, match=name):
        SSPCAB(**{"channels": 4, name: 0})


class TinyNet(nn.Layer):
    def __init__(self, form: str) -> None:
        super().__init__()
        self.conv = nn.Conv2D(3, 6, 3, padding=1)
        self.block = SSPCAB(6, kernel_size=2, form=form)

    def forward(self, images: paddle.Tensor) -> dict:
        features = self.block(self.conv(images))
        return {"features": features, "pair": (self.block.last[0], self.block.last[1])}


@pytest.mark.parametrize("form", ["sliced", "masked"])
def test_trains_and_saves_as_a_static_graph(form, tmp_path):
    paddle.seed(3)
    net = TinyNet(form)
    images = paddle.rand([2, 3, 8, 8])
    eager = net(images)["pair"]
    spec = [paddle.static.InputSpec([None, 3, None, None], "float32")]
    static = paddle.jit.to_static(net, input_spec=spec, full_graph=True)
    optimizer = paddle.optimizer.SGD(0.1, parameters=net.parameters())
    losses = []
    for _ in range(3):
        source, output = static(images)["pair"]
        losses.append(((source - output) ** 2).mean())
        losses[-1].backward()
        optimizer.step()
        optimizer.clear_grad()
    assert float(losses[0]) == pytest.approx(float(((eager[0] - eager[1]) ** 2).mean()), rel=1e-5)
    assert float(losses[-1]) < float(losses[0])
    static.eval()
    expected = static(images)["features"].numpy()
    paddle.jit.save(static, str(tmp_path / "inference"))
    loaded = paddle.jit.load(str(tmp_path / "inference"))
    np.testing.assert_allclose(loaded(images)[0].numpy(), expected, rtol=1e-5, atol=1e-6)
