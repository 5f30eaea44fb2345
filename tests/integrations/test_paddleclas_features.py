"""What PaddleClas's engine offers, with our classes in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppcls_sspcab.cli.main import main
from ppcls_sspcab.detector.file import load_detector
from ppcls_sspcab.utils.weights import read_weights

ONLY_CHECKOUT = "the 2.4.0 wheel has none; run make test-paddleclas PADDLECLAS_HOME=<checkout>"
SAVING = ["-o", "Global.save_interval=1"]


def losses_of(outcome: Any) -> np.ndarray:
    """[steps, 2]: CELoss and SSPCABLoss."""
    return np.array([[step["CELoss"], step["SSPCABLoss"]] for step in outcome.losses])


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    """Filled by the first test that needs the plain configuration's run."""
    return {}


@pytest.fixture
def expected(
    run: Callable[..., Any],
    cutpaste_yaml: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    plain: dict[str, Any],
) -> np.ndarray:
    """Losses of a run that uses nothing special; it has also saved its first epoch."""
    if not plain:
        plain["losses"] = losses_of(run(["train", "-c", cutpaste_yaml, *SAVING]))
        (weights,) = (tmp_path / "output").rglob("epoch_1.pdparams")
        kept = shutil.copytree(weights.parent, tmp_path_factory.mktemp("first") / "epoch")
        plain["first epoch"] = kept / weights.name
    return plain["losses"]


def test_to_static_workers_and_visualdl_change_nothing(
    run: Callable[..., Any], cutpaste_yaml: Path, tmp_path: Path, expected: np.ndarray
) -> None:
    words = ["-o", "Global.to_static=True", "-o", "Global.use_visualdl=True"]
    words += ["-o", "DataLoader.Train.loader.num_workers=2"]
    outcome = run(["train", "-c", cutpaste_yaml, *words])
    np.testing.assert_allclose(losses_of(outcome), expected, rtol=1e-4)
    assert "@to_static" in outcome.text
    content = b"".join(file.read_bytes() for file in tmp_path.rglob("vdlrecords*"))
    for tag in (b"train_CELoss", b"train_SSPCABLoss"):
        assert tag in content


def test_amp_o1_trains_with_scaled_losses(
    run: Callable[..., Any], cutpaste_yaml: Path, expected: np.ndarray
) -> None:
    """On a CPU Paddle casts nothing, so that the scaler alone is at work."""
    words = ["-o", "AMP.use_amp=True", "-o", "AMP.scale_loss=128.0"]
    outcome = run(["train", "-c", cutpaste_yaml, *words])
    np.testing.assert_allclose(losses_of(outcome), expected, rtol=3e-2)
    assert "scale_loss : 128.0" in outcome.text


def test_a_resumed_run_goes_on_as_it_would_have(
    run: Callable[..., Any], cutpaste_yaml: Path, expected: np.ndarray, plain: dict[str, Any]
) -> None:
    words = ["-o", f"Global.checkpoints={plain['first epoch'].with_suffix('')}"]
    resumed = run(["train", "-c", cutpaste_yaml, *words])
    assert len(resumed.losses) == 4
    np.testing.assert_allclose(losses_of(resumed), expected[4:], rtol=1e-6)


def test_the_best_model_is_chosen_on_synthetic_defects(
    run: Callable[..., Any], cutpaste_yaml: Path, tmp_path: Path
) -> None:
    run(["train", "-c", cutpaste_yaml, "-o", "Global.model_selection=val_synthetic"])
    (best,) = (
        path for path in tmp_path.rglob("best_model.pdparams") if path.parent.name != "best_model"
    )
    detector = load_detector(next(tmp_path.rglob("detector.safetensors")))
    card = detector.card
    assert card.protocol["selection"] == "val_synthetic"
    assert card.protocol["selected_epoch"] in (1, 2)
    state = detector.network.state_dict()
    for name, value in read_weights(best).items():
        np.testing.assert_array_equal(value, state[name].numpy(), err_msg=name)


def test_an_unreadable_picture_stops_the_training(
    paddleclas_home: Path, cutpaste_yaml: Path, demo_root: Path, tmp_path: Path
) -> None:
    import subprocess
    import sys

    from integrations_support import environment

    shutil.copytree(demo_root / "gasket", tmp_path / "data" / "gasket")
    broken = sorted((tmp_path / "data" / "gasket" / "train" / "good").iterdir())[1]
    broken.write_bytes(b"no picture")
    command = [
        sys.executable,
        "-m",
        "ppcls_sspcab.integrations.paddleclas",
        "train",
        "-c",
        str(cutpaste_yaml),
    ]
    # Without a cache the picture is met in the middle of an epoch, in the loader.
    command += ["-o", f"Global.data_root={tmp_path / 'data'}", "-o", "Global.cache_mb=0"]
    process = subprocess.run(
        command,
        env=environment(paddleclas_home),
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 2, process.stderr[-2000:]
    assert f"error: {broken}" in process.stderr


def test_averaged_weights_are_those_of_the_built_in_engine(
    run: Callable[..., Any], cutpaste_yaml: Path, tmp_path: Path, is_checkout: bool
) -> None:
    if not is_checkout:
        pytest.skip(ONLY_CHECKOUT)
    words = ["-c", str(cutpaste_yaml), "-o", "EMA.decay=0.5", "-o"]
    run(["train", *words, f"Global.output_dir={tmp_path / 'theirs'}"])
    assert main(["train", *words, f"Global.output_dir={tmp_path / 'ours'}"]) == 0
    left, right = (
        read_weights(tmp_path / name / "gasket" / "detector.safetensors")
        for name in ("theirs", "ours")
    )
    assert left.keys() == right.keys()
    for name, value in left.items():
        np.testing.assert_allclose(value, right[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_update_freq_gathers_gradients_over_steps(
    run: Callable[..., Any], cutpaste_yaml: Path, expected: np.ndarray, is_checkout: bool
) -> None:
    if not is_checkout:
        pytest.skip(ONLY_CHECKOUT)
    found = losses_of(run(["train", "-c", cutpaste_yaml, "-o", "Global.update_freq=2"]))
    still = ["-o", "Optimizer.lr.learning_rate=1.0e-12"]
    unmoved = losses_of(run(["train", "-c", cutpaste_yaml, *still]))
    np.testing.assert_allclose(found[:2], unmoved[:2], rtol=1e-5)
    assert (np.abs(found[2] - unmoved[2]) > 1e-4).any()
    assert (np.abs(expected[1] - unmoved[1]) > 1e-4).any()
