"""The projection head against a plain-numpy forward."""

import numpy as np
import paddle
import pytest

from ppcls_sspcab.arch.head import ProjectionHead
from ppcls_sspcab.registry import HEADS


def reference(head: ProjectionHead, x: np.ndarray) -> np.ndarray:
    """Linear, normalisation with the batch's own statistics, ReLU; at last a Linear."""
    state = {name: tensor.numpy().astype(np.float64) for name, tensor in head.state_dict().items()}
    for number in range(0, len(head.projection), 3):
        x = x @ state[f"projection.{number}.weight"]
        x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
        norm = f"projection.{number + 1}"
        x = np.maximum(x * state[f"{norm}.weight"] + state[f"{norm}.bias"], 0)
    return x @ state["classifier.weight"] + state["classifier.bias"]


@pytest.mark.parametrize("hidden_layers", [0, 1, 3])
def test_training_uses_the_statistics_of_the_batch(hidden_layers):
    head = ProjectionHead(8, 3, hidden_layers=hidden_layers, hidden_size=16, bottleneck=4)
    x = np.random.default_rng(0).normal(2.0, 3.0, size=(12, 8)).astype(np.float32)
    found = head(paddle.to_tensor(x)).numpy()
    np.testing.assert_allclose(found, reference(head, x), rtol=1e-4, atol=1e-4)


def test_running_statistics_move_towards_the_batchs():
    head = ProjectionHead(8, 3, hidden_size=16, bottleneck=4)
    linear, norm = head.projection[0], head.projection[1]
    x = paddle.randn([64, 8]) * 3 + 1
    hidden = linear(x)
    for _ in range(60):
        head(x)
    np.testing.assert_allclose(norm._mean.numpy(), hidden.mean(0).numpy(), rtol=0.02, atol=0.02)
    np.testing.assert_allclose(norm._variance.numpy(), hidden.var(0).numpy(), rtol=0.05)
    head.eval()
    before = norm._mean.numpy().copy()
    alone = head(x[:1]).numpy()
    np.testing.assert_allclose(alone, head(x).numpy()[:1], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(norm._mean.numpy(), before)


def test_sizes_of_the_paper():
    head = HEADS.build({"name": "ProjectionHead"}, "Arch.Head", embedding_size=512, class_num=3)
    linears = [layer for layer in head.sublayers() if isinstance(layer, paddle.nn.Linear)]
    sizes = [tuple(layer.weight.shape) for layer in linears]
    assert sizes == [(512, 512), (512, 128), (128, 3)]


@pytest.mark.parametrize("wrong", [{"hidden_layers": -1}, {"bottleneck": 0}, {"class_num": 0}])
def test_refuses_impossible_sizes(wrong):
    with pytest.raises(ValueError, match="must be"):
        ProjectionHead(**{"embedding_size": 4, "class_num": 3, **wrong})
