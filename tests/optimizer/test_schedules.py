"""Learning rates against the formulas, and optimizers against plain numpy steps."""

from __future__ import annotations

import math

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.optimizer import build_optimizer, build_schedule


def rates(lr: dict[str, object], total_steps: int, steps_per_epoch: int = 10) -> list[float]:
    schedule = build_schedule({"lr": lr}, total_steps, steps_per_epoch)
    found = []
    for _ in range(total_steps):
        found.append(schedule.get_lr())
        schedule.step()
    return found


def test_cosine_runs_over_the_steps_that_are_really_run() -> None:
    found = rates({"name": "Cosine", "learning_rate": 0.03}, 40)
    expected = [0.03 * (1 + math.cos(math.pi * step / 40)) / 2 for step in range(40)]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert found[-1] < 0.03 * 0.002


def test_warm_up_is_linear_and_then_the_cosine_starts_at_its_top() -> None:
    found = rates({"name": "Cosine", "learning_rate": 1.0, "warmup_epoch": 0.5}, 40)
    np.testing.assert_allclose(found[:6], [0, 0.2, 0.4, 0.6, 0.8, 1.0], atol=1e-12)


def test_by_epoch_holds_the_rate() -> None:
    found = rates({"name": "Cosine", "learning_rate": 1.0, "by_epoch": True}, 40)
    assert [len(set(found[start : start + 10])) for start in (0, 10, 20, 30)] == [1, 1, 1, 1]
    assert found[10] == pytest.approx((1 + math.cos(math.pi / 4)) / 2)


def test_milestones() -> None:
    found = rates({"name": "MultiStepDecay", "learning_rate": 1.0, "milestones": [1, 2.5]}, 40)
    np.testing.assert_allclose(found, [1.0] * 10 + [0.1] * 15 + [0.01] * 15)


@pytest.mark.parametrize(
    "lr",
    [
        {"name": "Cosine", "learning_rate": 0.0},
        {"name": "Cosine", "learning_rate": 1.0, "eta_min": 2.0},
        {"name": "Cosine", "learning_rate": 1.0, "warmup_epoch": 99.0},
        {"name": "Cosin", "learning_rate": 1.0},
        0.03,
    ],
)
def test_wrong_values_are_configuration_errors(lr: object) -> None:
    with pytest.raises(ConfigError, match=r"Optimizer\.lr"):
        build_schedule({"lr": lr}, 40, 10)


def test_momentum_with_l2_and_clipping_is_the_formula() -> None:
    layer = nn.Linear(3, 1, bias_attr=False)
    weight = layer.weight.numpy().copy()
    section = {
        "name": "Momentum",
        "momentum": 0.9,
        "lr": {"name": "Constant", "learning_rate": 0.1},
        "regularizer": {"name": "L2", "coeff": 0.01},
        "clip_norm": 1.0,
    }
    optimizer = build_optimizer(section, build_schedule(section, 10, 10), layer)
    pictures = np.array([[3.0, -4.0, 12.0]], np.float32)
    velocity = np.zeros_like(weight)
    for _ in range(3):
        layer(paddle.to_tensor(pictures)).sum().backward()
        optimizer.step()
        optimizer.clear_grad()
        gradient = pictures.T / 13.0  # the gradient's norm is 13
        velocity = 0.9 * velocity + gradient + 0.01 * weight
        weight = weight - 0.1 * velocity
        np.testing.assert_allclose(layer.weight.numpy(), weight, rtol=1e-5)


@pytest.mark.parametrize("name", ["SGD", "Momentum", "Adam", "AdamW"])
def test_every_optimizer_goes_downhill(name: str) -> None:
    layer = nn.Linear(4, 1)
    section = {"name": name, "lr": {"name": "Constant", "learning_rate": 0.01}}
    optimizer = build_optimizer(section, build_schedule(section, 50, 10), layer)
    pictures = paddle.ones([2, 4])
    first = None
    for _ in range(50):
        loss = (layer(pictures) - 3.0).square().mean()
        first = float(loss) if first is None else first
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
    assert float(loss) < first


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"momentun": 0.5}, "Optimizer.momentun"),
        ({"regularizer": {"name": "L1", "coeff": 1}}, "Optimizer.regularizer.name"),
        ({"regularizer": {"name": "L2", "coeff": -1}}, "Optimizer.regularizer.coeff"),
        ({"regularizer": 3e-5}, "Optimizer.regularizer"),
        ({"clip_norm": -1}, "Optimizer.clip_norm"),
    ],
)
def test_optimizer_mistakes_name_their_key(change: dict[str, object], key: str) -> None:
    section = {"name": "Momentum", "lr": {"name": "Constant", "learning_rate": 0.1}, **change}
    with pytest.raises(ConfigError) as caught:
        build_optimizer(section, build_schedule(section, 10, 10), nn.Linear(2, 2))
    assert caught.value.key == key
