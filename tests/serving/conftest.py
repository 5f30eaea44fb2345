"""A running service, and the exported model that it serves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from served import PREPROCESS, Brightness, Running, running, settings_for

from ppcls_sspcab.detector.card import DetectorCard
from ppcls_sspcab.exporting.export import export_detector


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model of all runtimes."""
    folder = tmp_path_factory.mktemp("served") / "inference"
    card = DetectorCard(
        arch={}, density={}, preprocess=PREPROCESS, category="lamp", version="v-test"
    )
    return export_detector(Brightness(), card, folder, ["paddle", "onnx"])


@pytest.fixture(scope="module")
def served(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A running service that keeps all pictures."""
    with running(settings_for(model, tmp_path_factory.mktemp("kept"))) as found:
        yield found
