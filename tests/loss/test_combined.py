"""The weighted sum of losses and its section in the configuration."""

import paddle
import pytest

from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.loss.combined import CombinedLoss

CE, SSPCAB = {"CELoss": {"weight": 1.0}}, {"SSPCABLoss": {"weight": 0.1}}


@pytest.fixture
def output():
    source, predicted = paddle.zeros([1, 2, 2, 2]), paddle.full([1, 2, 2, 2], 3.0)
    return {"logits": paddle.to_tensor([[0.0, 0.0]]), "sspcab": [(source, predicted)]}


LABEL = paddle.zeros([1, 1], "int64")
LOG_2 = 0.6931472


def test_each_part_is_weighted_and_the_sum_is_the_loss(output):
    losses = {name: float(v) for name, v in CombinedLoss([CE, SSPCAB])(output, LABEL).items()}
    assert losses == pytest.approx({"CELoss": LOG_2, "SSPCABLoss": 0.9, "loss": LOG_2 + 0.9})


def test_a_single_loss_keeps_its_weight(output):
    losses = CombinedLoss([{"CELoss": {"weight": 0.5}}])(output, LABEL)
    assert {n: float(v) for n, v in losses.items()} == pytest.approx(
        {"CELoss": LOG_2 / 2, "loss": LOG_2 / 2}
    )


def test_the_sum_carries_the_weighted_gradients(output):
    predicted = output["sspcab"][0][1]
    predicted.stop_gradient = False
    CombinedLoss([CE, SSPCAB])(output, LABEL)["loss"].backward()
    assert float(predicted.grad.sum()) == pytest.approx(0.1 * 2 * 3.0)


def test_arguments_beside_the_weight_reach_the_loss():
    combined = CombinedLoss([{"SSPCABLoss": {"weight": 1, "detach_target": True}}])
    assert combined.losses[0].detach_target is True


@pytest.mark.parametrize(
    ("sections", "key", "message"),
    [
        ([], "Loss.Train", "list of losses"),
        ({"CELoss": {"weight": 1.0}}, "Loss.Train", "list of losses"),
        ([{**CE, **SSPCAB}], "Loss.Train.0", "must be one loss"),
        ([CE, {"SSPCABLos": {"weight": 1.0}}], "Loss.Train.1.SSPCABLos", "did you mean 'SSPCABL"),
        ([{"CELoss": {}}], "Loss.Train.0.CELoss.weight", "is required"),
        ([{"CELoss": None}], "Loss.Train.0.CELoss.weight", "is required"),
        ([{"CELoss": {"weight": "1"}}], "Loss.Train.0.CELoss.weight", "must be a number"),
        ([{"CELoss": {"weight": -1}}], "Loss.Train.0.CELoss.weight", "must lie in 0"),
        ([{"CELoss": {"weight": 1, "x": 2}}], "Loss.Train.0.CELoss.x", "unknown key"),
        ([CE, CE], "Loss.Train.1.CELoss", "second time"),
    ],
)
def test_a_wrong_section_is_one_clear_error(sections, key, message):
    with pytest.raises(ConfigError, match=message) as caught:
        CombinedLoss(sections)
    assert caught.value.key == key
