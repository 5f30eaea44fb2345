"""Two ranks on a CPU do what one process with the doubled batch does, in both engines."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TWO = ("-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--backend", "gloo")
STEPS = 6

# BatchNorm would normalise each rank's half by itself; this network has none.
PLAIN = """
_BASE_: {base}
Global: {{plugins: [plain_network], epochs: 2, iter_per_epoch: 3, freeze_steps: 2}}
Arch:
  Backbone: {{name: PlainBackbone}}
  Block: {{name: SSPCAB, replace: conv3}}
  Head: {{name: PlainHead}}
Localize: {{name: SSPCABError}}
"""


@pytest.fixture
def plain_yaml(cutpaste_yaml: Path, tmp_path: Path) -> Path:
    path = tmp_path / "plain.yaml"
    path.write_text(PLAIN.format(base=cutpaste_yaml))
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("engine", ["builtin", "paddleclas"])
def test_two_ranks_equal_one_process_with_the_doubled_batch(
    run: Callable[..., Any], plain_yaml: Path, tmp_path: Path, engine: str
) -> None:
    losses, found = {}, {}
    env = {"PYTHONPATH": str(Path(__file__).parent), "PPCLS_SSPCAB_NO_LAUNCHER": "1"}
    env |= {"BUILTIN": "1"} if engine == "builtin" else {}
    for name, launcher, batch_size in (("one", (), 4), ("two", TWO, 2)):
        words = ["-c", plain_yaml, "-o", f"Global.output_dir={tmp_path / name}"]
        words += ["-o", f"DataLoader.Train.sampler.batch_size={batch_size}"]
        words += ["-o", "DataLoader.Eval.sampler.batch_size=5"]
        outcome = run(["train", *words], ["eval", *words], launcher=launcher, **env)
        folder = tmp_path / name / "gasket"
        steps = rows(folder / "train.csv") if engine == "builtin" else outcome.losses
        losses[name] = [[float(step[loss]) for loss in ("CELoss", "SSPCABLoss")] for step in steps]
        found[name] = rows(folder / "results.csv")

    assert len(losses["two"]) == STEPS
    np.testing.assert_allclose(losses["two"], losses["one"], rtol=1e-5)
    # 36 pictures in batches of 5: the last turn is short, and no picture counts twice.
    assert [row["path"] for row in found["two"]] == [row["path"] for row in found["one"]]
    for column in ("score", "normalized_score"):
        left, right = ([float(row[column]) for row in found[name]] for name in ("two", "one"))
        # A fused score, less its median, passes zero: differences matter by the scores' spread.
        np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-4 * np.std(right))
    log = next((tmp_path / "two").rglob("train.log")).read_text(encoding="utf-8")
    lines = [line for line in log.splitlines() if "[Train][Epoch 2/2][Iter" in line]
    assert len(lines) == 3
