"""The block's own loss against plain numpy."""

import numpy as np
import paddle
import pytest

from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.loss.sspcab_loss import SSPCABLoss


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    shapes = [(2, 3, 4, 5), (2, 8, 2, 2)]
    return [tuple(rng.normal(size=shape).astype(np.float32) for _ in range(2)) for shape in shapes]


def tensors(pairs):
    return [tuple(paddle.to_tensor(a, stop_gradient=False) for a in pair) for pair in pairs]


def test_mean_over_blocks_of_the_mean_squared_difference(pairs):
    expected = np.mean([((a - b) ** 2).mean() for a, b in pairs])
    loss = SSPCABLoss()({"sspcab": tensors(pairs)})
    assert set(loss) == {"SSPCABLoss"}
    assert loss["SSPCABLoss"].shape == []
    assert float(loss["SSPCABLoss"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("detach", [False, True])
def test_gradients_of_target_and_prediction(pairs, detach):
    source, predicted = tensors(pairs[:1])[0]
    SSPCABLoss(detach_target=detach)({"sspcab": [(source, predicted)]})["SSPCABLoss"].backward()
    expected = 2 * (pairs[0][1] - pairs[0][0]) / pairs[0][0].size
    np.testing.assert_allclose(predicted.grad.numpy(), expected, rtol=1e-5, atol=1e-8)
    if detach:
        assert source.grad is None
    else:
        np.testing.assert_allclose(source.grad.numpy(), -expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("output", [{"sspcab": []}, {}])
def test_a_network_without_a_block_is_one_clear_error(output):
    with pytest.raises(ConfigError, match=r"SSPCABLoss needs a network with a block; set Arch"):
        SSPCABLoss()(output)
