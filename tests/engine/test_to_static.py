"""Training with the network as a static graph is the same training."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import paddle
import pytest

from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.engine.engine import Engine
from ppcls_sspcab.utils.weights import write_safetensors


def losses(path: Path, folder: Path, *overrides: str) -> dict[str, np.ndarray]:
    config = load_config(path, [*overrides, f"Global.output_dir={folder}"])
    Engine(config, "train").train()
    (table,) = folder.glob("*/train.csv")
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in ("CELoss", "SSPCABLoss")}


# Layers that are trained later, and layers that never are.
@pytest.mark.parametrize("frozen", ["Global.freeze_steps=2", "Arch.freeze=[conv1, bn1]"])
def test_the_losses_are_those_of_eager_mode(
    tiny_yaml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frozen: str
) -> None:
    weights = paddle.vision.models.resnet18().state_dict()
    pretrained = tmp_path / "weights.safetensors"
    write_safetensors(pretrained, {name: value.numpy() for name, value in weights.items()}, {})
    common = (frozen, "Global.print_batch_step=1", f"Arch.pretrained={pretrained}")
    eager = losses(tiny_yaml, tmp_path / "eager", *common)
    traced = []
    to_static = paddle.jit.to_static
    monkeypatch.setattr(
        paddle.jit, "to_static", lambda *a, **k: traced.append(a[0]) or to_static(*a, **k)
    )
    static = losses(tiny_yaml, tmp_path / "static", *common, "Global.to_static=true")
    assert any(getattr(given, "__name__", "") == "forward" for given in traced)
    assert len(eager["CELoss"]) == 6
    for name, values in eager.items():
        np.testing.assert_allclose(static[name], values, rtol=1e-5, err_msg=name)
