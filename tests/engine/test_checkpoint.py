"""Checkpoints: resuming is exact, and files of other runs are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_sspcab.engine.checkpoint import Progress, TrainingState
from ppcls_sspcab.engine.ema import ExponentialMovingAverage
from ppcls_sspcab.errors import ModelError, OutputError
from ppcls_sspcab.optimizer import build_optimizer, build_schedule


def make(name: str, identity: dict[str, object] | None = None) -> TrainingState:
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1D(8), nn.ReLU(), nn.Linear(8, 1))
    section = {"name": name, "lr": {"name": "Cosine", "learning_rate": 0.1}}
    return TrainingState(
        network=network,
        optimizer=build_optimizer(section, build_schedule(section, 20, 10), network),
        scaler=None,
        ema=ExponentialMovingAverage(network, 0.9),
        progress=Progress(),
        identity=identity or {"seed": 0},
    )


def advance(state: TrainingState, steps: int) -> None:
    for _ in range(steps):
        rng = np.random.default_rng(state.progress.step)
        pictures = paddle.to_tensor(rng.normal(size=(6, 4)).astype(np.float32))
        state.network(pictures).square().mean().backward()
        state.optimizer.step()
        state.optimizer.clear_grad()
        state.optimizer._learning_rate.step()
        state.ema.update()
        state.progress.step += 1


def weights(state: TrainingState) -> dict[str, np.ndarray]:
    return {name: value.numpy().copy() for name, value in state.network.state_dict().items()}


@pytest.mark.parametrize("name", ["Momentum", "Adam", "AdamW", "SGD"])
def test_going_on_from_a_checkpoint_is_exact(tmp_path: Path, name: str) -> None:
    undisturbed = make(name)
    advance(undisturbed, 5)
    undisturbed.progress.best_metric = 0.75
    undisturbed.progress.seconds = 2.5
    undisturbed.save(tmp_path / "latest.safetensors")
    advance(undisturbed, 5)

    resumed = make(name)
    resumed.load(tmp_path / "latest.safetensors")
    assert resumed.progress == Progress(step=5, seconds=2.5, best_metric=0.75)
    advance(resumed, 5)

    for key, value in weights(undisturbed).items():
        np.testing.assert_array_equal(weights(resumed)[key], value, err_msg=key)
    for key, value in undisturbed.ema.shadow.items():
        np.testing.assert_array_equal(resumed.ema.shadow[key].numpy(), value.numpy())


def test_a_failed_write_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "latest.safetensors"
    state = make("Momentum")
    state.save(path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", fail)
    advance(state, 1)
    with pytest.raises(OutputError, match=r"latest\.safetensors: .* the disk is full"):
        state.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["latest.safetensors"]


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "latest.safetensors"
    make("Momentum", {"seed": 0, "epochs": 2}).save(path)
    with pytest.raises(ModelError, match="epochs = 2"):
        make("Momentum", {"seed": 0, "epochs": 3}).load(path)
    with pytest.raises(ModelError, match="no such checkpoint"):
        make("Momentum").load(tmp_path / "none.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match="cannot be read"):
        make("Momentum").load(path)


def test_the_average_follows_its_formula_and_gives_the_weights_back() -> None:
    layer = nn.Linear(2, 2)
    first = layer.weight.numpy().copy()
    average = ExponentialMovingAverage(layer, 0.75)
    layer.weight.set_value(first + 4.0)
    average.update()
    with average.applied():
        np.testing.assert_allclose(layer.weight.numpy(), first + 1.0, rtol=1e-6)
    np.testing.assert_allclose(layer.weight.numpy(), first + 4.0, rtol=1e-6)
