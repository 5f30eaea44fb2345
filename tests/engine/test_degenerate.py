"""Numbers gone wrong: what cannot be learnt from still gives finite scores, or one clear error."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
import soak
import soak_network
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle import nn
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.detector.file import load_detector
from ppcls_sspcab.engine.engine import Engine
from ppcls_sspcab.errors import UserError
from ppcls_sspcab.registry import BACKBONES
from ppcls_sspcab.utils.weights import read_weights

CATEGORY = "Global.category=gasket"


@BACKBONES.register
def constant_network(pretrained: bool | str = False) -> nn.Layer:
    """Gives every picture the same embedding: zero."""
    layer = soak_network.soak_network()
    for norm in (layer.bn1, layer.bn2, layer.bn3):
        norm.weight.set_value(paddle.zeros_like(norm.weight))
    return layer


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return soak.prepare(tmp_path_factory.mktemp("degenerate"))


def configured(prepared: Path, tmp_path: Path, *overrides: str) -> Config:
    common = (f"Global.output_dir={tmp_path / 'output'}", "Global.plugins=[]")
    return load_config(prepared, [*common, *overrides])


def identical(root: Path) -> Path:
    """A category whose good pictures show one and the same, in files that differ."""
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    for folder, count in (("train/good", 10), ("test/good", 3), ("test/bad", 2)):
        path = root / "gasket" / folder
        path.mkdir(parents=True)
        for number in range(count):
            shown = pixels if "good" in folder else 255 - pixels
            comment = PngInfo()
            comment.add_text("number", str(number))
            Image.fromarray(shown).save(path / f"{number}.png", pnginfo=comment)
    return root


def scores_of(config: Config) -> dict[str, list[float]]:
    """Scores of the good and the bad test pictures, all finite."""
    Engine(config, "eval").eval()
    found: dict[str, list[float]] = {"0": [], "1": []}
    with (config.folder.root / "results.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            found[row["label"]].append(float(row["score"]))
            assert np.isfinite([float(row["score"]), float(row["normalized_score"])]).all()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("density", ["GaussianDensity", "KernelDensity"])
@pytest.mark.parametrize("calibrate_on", ["held_out", "k_fold"])
def test_identical_pictures(
    prepared: Path, tmp_path: Path, density: str, calibrate_on: str
) -> None:
    config = configured(
        prepared,
        tmp_path,
        CATEGORY,
        f"Global.data_root={identical(tmp_path / 'data')}",
        "Global.epochs=0",
        "Global.model_selection=last",
        f"Density.name={density}",
        f"Threshold.calibrate_on={calibrate_on}",
        "Score.name=auto",
        "Localize={name: FeatureGaussian, layers: [conv1], channels: 16}",
    )
    Engine(config, "train").train()
    found = scores_of(config)
    assert np.ptp(found["0"]) <= 1e-3 * max(abs(value) for value in found["1"])
    assert min(found["1"]) > max(found["0"])
    Engine(config, "export").export()


@pytest.mark.slow
@pytest.mark.parametrize("density", ["GaussianDensity", "KernelDensity"])
def test_a_constant_embedding(prepared: Path, tmp_path: Path, density: str) -> None:
    config = configured(
        prepared,
        tmp_path,
        CATEGORY,
        "Arch.Backbone.name=constant_network",
        "Arch.Block=null",
        "Loss.Train=[{CELoss: {weight: 1.0}}]",
        "Global.epochs=0",
        f"Density.name={density}",
        "Score.name=auto",
        "Localize={name: FeatureGaussian, layers: [conv3], channels: 16}",
    )
    Engine(config, "train").train()
    found = scores_of(config)
    assert np.ptp(found["0"] + found["1"]) == 0
    Engine(config, "export").export()


@pytest.mark.parametrize(
    "overrides",
    [
        ("Optimizer.lr.learning_rate=1e30", "Global.epochs=4"),
        (
            "Optimizer={name: SGD, lr: {name: Constant, learning_rate: 3e38}}",
            "Global.iter_per_epoch=1",
            "Global.epochs=4",
        ),
    ],
    ids=["loss", "weights"],
)
def test_numbers_that_are_none_stop_the_run_and_are_not_saved(
    prepared: Path, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    config = configured(prepared, tmp_path, CATEGORY, "Global.model_selection=last", *overrides)
    latest = config.folder.root / "checkpoints" / "latest.safetensors"
    with pytest.raises(UserError, match=r"at step \d+, lr [0-9.e+-]+; .*learning_rate") as caught:
        Engine(config, "train").train()
    assert str(latest) in str(caught.value)
    for name, array in read_weights(latest).items():
        assert np.isfinite(array).all(), name
    assert not config.folder.detector.exists()


@pytest.fixture(scope="module")
def detector(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    config = configured(
        prepared,
        tmp_path_factory.mktemp("finite"),
        CATEGORY,
        "Global.epochs=1",
        "Score={name: fused, parts: [map_max, embedding, embedding_max, logit]}",
        "Localize={name: FeatureGaussian, layers: [conv1], channels: 16}",
    )
    Engine(config, "train").train()
    return load_detector(config.folder.detector)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 127, 255]), st.sampled_from([0, 1, 128]))
def test_every_picture_has_a_finite_score(
    detector: Any, seed: int, level: int, contrast: int
) -> None:
    noise = np.random.default_rng(seed).integers(-contrast, contrast + 1, (2, 32, 32, 3))
    pixels = (level + noise).clip(0, 255).astype(np.uint8)
    with paddle.no_grad():
        found = detector(paddle.to_tensor(detector.card.preprocess.normalize(pixels)))
    for name, value in found.items():
        assert np.isfinite(value.numpy()).all(), name
