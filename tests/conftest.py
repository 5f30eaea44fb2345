"""Fixtures of several rooms: generated pictures and a configuration that trains in seconds."""

from __future__ import annotations

import os
from pathlib import Path

from ppcls_sspcab.utils.launcher import missing_settings

# Paddle reads them when it is loaded. Tests share their cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.update(missing_settings())

import hypothesis
import pytest

# How long an example takes says nothing beside another process of tests.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"

TINY = f"""
_BASE_: {REPOSITORY}/configs/demo.yaml
Global: {{epochs: 2, iter_per_epoch: 3, print_batch_step: 2, device: cpu}}
Preprocess: {{image_size: [32, 32]}}
DataLoader:
  Train: {{sampler: {{batch_size: 4}}}}
  Eval: {{sampler: {{batch_size: 8}}}}
"""


# Marker of a test that uses a fixture: what it needs, or that it trains a detector.
MARKERS = {
    "browser": "browser",
    "paddleclas": "paddleclas",
    "paddleclas_home": "paddleclas",
    "tiny_yaml": "slow",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks tests by their fixtures, for ``-m`` to leave out."""
    for item in items:
        for fixture in MARKERS.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(MARKERS[fixture])


@pytest.fixture(scope="session")
def demo_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated pictures in MVTec layout: a few of each kind."""
    from ppcls_sspcab.data.generated import generate_demo

    root = tmp_path_factory.mktemp("demo")
    generate_demo(root, seed=0, size=48, train=12, test=4)
    return root


@pytest.fixture
def tiny_yaml(tmp_path: Path, demo_root: Path) -> Path:
    """A configuration of six steps at 32 pixels on one demo category."""
    from ppcls_sspcab.data.datasets.mvtec import MVTecDataset

    category = MVTecDataset.categories(str(demo_root))[0]
    path = tmp_path / "tiny.yaml"
    path.write_text(
        TINY.replace(
            "Global: {",
            f"Global: {{data_root: {demo_root}, category: {category}, "
            f"output_dir: {tmp_path / 'output'}, ",
        ),
        encoding="utf-8",
    )
    return path
