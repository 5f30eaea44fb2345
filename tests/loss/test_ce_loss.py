"""Cross entropy against plain numpy."""

import numpy as np
import paddle
import pytest

from ppcls_sspcab.loss.ce_loss import CELoss


def reference(logits: np.ndarray, labels: np.ndarray) -> float:
    logits = logits.astype(np.float64)
    log_sum = np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1)
    return float(np.mean(log_sum - logits[np.arange(len(labels)), labels]))


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("column", [True, False])
def test_equals_numpy(classes, column):
    rng = np.random.default_rng(classes)
    logits = rng.normal(0, 20, size=(9, classes)).astype(np.float32)
    labels = rng.integers(0, classes, 9)
    given = paddle.to_tensor(labels[:, None] if column else labels)
    loss = CELoss()({"logits": paddle.to_tensor(logits)}, given)
    assert set(loss) == {"CELoss"}
    assert loss["CELoss"].shape == []
    assert float(loss["CELoss"]) == pytest.approx(reference(logits, labels), rel=1e-5)


def test_gradient_is_softmax_minus_one_hot():
    logits = np.array([[0.5, -1.0, 2.0], [0.0, 0.0, 0.0]], np.float32)
    tensor = paddle.to_tensor(logits, stop_gradient=False)
    CELoss()({"logits": tensor}, paddle.to_tensor([[2], [0]]))["CELoss"].backward()
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = (softmax - np.eye(3)[[2, 0]]) / 2
    np.testing.assert_allclose(tensor.grad.numpy(), expected, atol=1e-6)


def test_three_views_are_not_taken_for_probabilities():
    with pytest.raises(ValueError, match=r"class numbers, not of shape \[4, 3\]"):
        CELoss()({"logits": paddle.rand([4, 3])}, paddle.zeros([4, 3], "int64"))
