"""The training's lines: short on the console, whole in the file, with the days that are left."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from ppcls_sspcab.config.schema import GlobalSection
from ppcls_sspcab.engine.training_log import TrainingLog, duration
from ppcls_sspcab.paths import RunFolder
from ppcls_sspcab.utils.logger import log_file


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "00:00:00"),
        (8 * 3600 + 11 * 60 + 9.4, "08:11:09"),
        (24 * 3600 - 0.4, "1d 00:00:00"),
        (22 * 86400 + 8 * 3600, "22d 08:00:00"),
        (400 * 86400, "400d 00:00:00"),
    ],
)
def test_days_are_said(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("loss", [0.0123456, 123456.789, 1.23456e-7])
def test_a_line_fits_the_console_and_the_file_has_all_of_it(
    tmp_path: Path, loss: float, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = {"CELoss": loss, "SSPCABLoss": loss, "loss": loss, "accuracy": 0.98765}
    figures |= {"reader_cost": 12.34567, "batch_cost": 12.34567}
    with log_file(tmp_path / "train.log"):
        run = GlobalSection(epochs=1000, iter_per_epoch=900, print_batch_step=1)
        log = TrainingLog(RunFolder(str(tmp_path.parent), tmp_path.name), run, done=0)
        log.add(123455, 0.03125, figures, images=96)
        log.close()
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) <= 100, line
    (_, shown) = line.split("] ", 1)
    eta = duration((900_000 - 123_456) * 12.34567)
    assert eta.startswith("110d ")
    assert shown == f"[Train][123456/900000] loss {loss:.4g}, acc 0.988, ips 8, eta {eta}"
    (full,) = (tmp_path / "train.log").read_text().splitlines()
    for part in (
        "[Train][Epoch 138/1000][Iter: 156/900] lr: 0.031250, ",
        f"SSPCABLoss: {loss:.5f}, loss: {loss:.5f}, accuracy: 0.98765, ",
        f"batch_cost: 12.34567 s, ips: 7.78 images/s, eta: {eta}",
    ):
        assert part in full


def test_a_console_that_is_gone_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = {"loss": 1.0, "accuracy": 0.5, "reader_cost": 0.0, "batch_cost": 1.0}
    reading, writing = os.pipe()
    os.close(reading)
    with log_file(tmp_path / "train.log"):
        monkeypatch.setattr(
            sys, "stderr", io.TextIOWrapper(io.FileIO(writing, "w"), write_through=True)
        )
        run = GlobalSection(epochs=1, iter_per_epoch=1, print_batch_step=1)
        log = TrainingLog(RunFolder(str(tmp_path.parent), tmp_path.name), run, done=0)
        log.add(0, 0.1, figures, images=1)
        monkeypatch.undo()
    assert "[Train][Epoch 1/1]" in (tmp_path / "train.log").read_text()
