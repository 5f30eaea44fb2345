"""A real PaddleClas with its engine, unmodified, and processes that run it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from integrations_support import environment

REPOSITORY = Path(__file__).resolve().parents[2]
WHEEL = "paddleclas==2.4.0"  # the newest release whose wheel holds the engine
RECORDER = Path(__file__).with_name("recorder.py")


@pytest.fixture(scope="session")
def paddleclas_home() -> Path:
    """The folder that holds ``ppcls``: of PADDLECLAS_HOME, else of the wheel."""
    if os.environ.get("PADDLECLAS_HOME"):
        return Path(os.environ["PADDLECLAS_HOME"]).resolve()
    pytest.importorskip("cv2", reason="PaddleClas needs OpenCV", exc_type=ImportError)
    pytest.importorskip("easydict", reason="PaddleClas needs easydict")
    target = REPOSITORY / "build" / "paddleclas24"
    target.parent.mkdir(exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not (target / "paddleclas" / "ppcls" / "engine").is_dir():
            _install(target)
    return target / "paddleclas"


def _install(target: Path) -> None:
    part = target.with_name(f"{target.name}-{os.getpid()}")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    outcome = subprocess.run(
        [*command, str(part), WHEEL], check=False, capture_output=True, text=True
    )
    if outcome.returncode:
        shutil.rmtree(part, ignore_errors=True)
        pytest.skip(f"{WHEEL} could not be installed: {outcome.stderr.strip()[-300:]}")
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)


@pytest.fixture(scope="session")
def is_checkout(paddleclas_home: Path) -> bool:
    """Whether this PaddleClas is of today, with EMA and gradient accumulation."""
    return "update_freq" in (paddleclas_home / "ppcls" / "engine" / "engine.py").read_text()


CUTPASTE = """
_BASE_: {base}
Global:
  data_root: {data}
  category: gasket
  output_dir: {output}
  device: cpu
  epochs: 2
  iter_per_epoch: 4
  freeze_steps: 0
  print_batch_step: 1
  eval_interval: 1
Preprocess: {{image_size: [32, 32]}}
Arch: {{pretrained: false}}
DataLoader:
  Train: {{sampler: {{batch_size: 4}}, loader: {{num_workers: 0}}}}
  Eval: {{sampler: {{batch_size: 8}}}}
"""


@pytest.fixture
def cutpaste_yaml(tmp_path: Path, demo_root: Path) -> Path:
    """``configs/cutpaste_sspcab.yaml`` for eight steps at 32 pixels."""
    path = tmp_path / "cutpaste.yaml"
    base = REPOSITORY / "configs" / "cutpaste_sspcab.yaml"
    path.write_text(CUTPASTE.format(base=base, data=demo_root, output=tmp_path / "output"))
    return path


Run = Callable[..., "Outcome"]


class Outcome:
    """What a process did: its text, and the weighted losses of each step, in full precision.

    Of several ranks, ``losses`` are their mean.
    """

    def __init__(self, text: str, losses: list[dict[str, float]]) -> None:
        self.text = text
        self.losses = losses


@pytest.fixture
def run(paddleclas_home: Path, tmp_path: Path) -> Run:
    """Runs words of the plug-in's program (several lists: one after the other)."""

    def run_words(*commands: Sequence[Any], launcher: Sequence[str] = (), **env: str) -> Outcome:
        losses = tmp_path / "losses"
        words = json.dumps([[str(word) for word in command] for command in commands])
        process = subprocess.run(
            [sys.executable, "-W", "ignore", *launcher, str(RECORDER), str(losses), words],
            env=environment(paddleclas_home, **env),
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-3000:]
        files = sorted(tmp_path.glob("losses.*"))
        each = [json.loads(file.read_text()) for file in files]
        for file in files:
            file.unlink()
        means = [
            {name: sum(rank[name] for rank in step) / len(step) for name in step[0]}
            for step in zip(*each, strict=True)
        ]
        return Outcome(process.stdout + process.stderr, means)

    return run_words
