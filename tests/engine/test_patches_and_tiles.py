"""Training on crops, and detectors of patches and tiles, from the YAML to the exported model."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.data.build import transform_sections
from ppcls_sspcab.engine.engine import Engine
from ppcls_sspcab.errors import ConfigError, DataError
from ppcls_sspcab.runtime.predictor import BACKENDS, Predictor

PATCHES = """
_BASE_: {base}
Arch: {{Block: {{replace: "layer2[1].conv1"}}}}
DataLoader:
  Train:
    dataset:
      transform_ops:
        - RandomCrop: {{size: 24}}
        - ColorJitter:
        - CutPaste: {{reference_size: 24}}
Localize: {{name: PatchCutPaste, patch_size: 24, stride: 8, channels: 32}}
"""
TILES = """
_BASE_: {base}
Preprocess: {{image_size: [48, 80]}}
Tiling: {{size: [32, 48], overlap: 0.25}}
"""


def run(path: Path) -> tuple[dict, Path]:
    """Trains, evaluates and exports; returns the results and the category's folder."""
    config = load_config(path)
    Engine(config, "train").train()
    Engine(config, "eval").eval(report=True)
    Engine(config, "export").export(["paddle", "onnx"])
    folder = config.folder.root
    return json.loads((folder / "results.json").read_text(encoding="utf-8")), folder


@pytest.mark.parametrize("text", [PATCHES, TILES], ids=["patches", "tiles"])
def test_the_exported_model_scores_the_test_pictures_as_the_evaluation_did(
    text: str, tiny_yaml: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime", reason="the ONNX extra is not installed")
    path = tmp_path / "own.yaml"
    path.write_text(text.format(base=tiny_yaml), encoding="utf-8")
    results, folder = run(path)
    assert results["pixel_auroc"] is not None
    with (folder / "results.csv").open(encoding="utf-8", newline="") as stream:
        records = list(csv.DictReader(stream))
    expected = [float(record["score"]) for record in records]
    for backend in BACKENDS:
        predictor = Predictor(folder / "inference", backend)
        found = predictor.predict([record["path"] for record in records], batch_size=3)
        np.testing.assert_allclose([r.score for r in found], expected, rtol=1e-3, atol=1e-3)
    assert predictor.card.pictures_at_once > 1


def test_tiles_are_trained_on_crops_of_their_size(tiny_yaml: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(TILES.format(base=tiny_yaml), encoding="utf-8")
    first, *rest = transform_sections(load_config(path))
    assert first == {"RandomCrop": {"size": [32, 48]}}
    assert rest == transform_sections(load_config(tiny_yaml))
    own = {"RandomCrop": {"size": 32}}
    text = (
        path.read_text(encoding="utf-8")
        + f"DataLoader: {{Train: {{dataset: {{transform_ops: [{own}, CutPaste]}}}}}}"
    )
    path.write_text(text.replace("'", ""), encoding="utf-8")
    assert transform_sections(load_config(path)) == [own, "CutPaste"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("Tiling.size=[32]", r"Tiling\.size: must be a list of at least 2, not \[32\]"),
        ("Tiling.overlap=0.9", r"Tiling\.overlap: must be at most 0\.75, not 0\.9"),
        ("Tiling.siez=3", r"Tiling\.siez: unknown key; did you mean 'size'"),
        ("Tiling.size=[64, 64]", r"Tiling: a tile of 64x64 does not fit into pictures of 48x80"),
    ],
)
def test_a_wrong_tiling_is_named(
    override: str, message: str, tiny_yaml: Path, tmp_path: Path
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(TILES.format(base=tiny_yaml), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        Engine(load_config(path, [override]), "train").train()


def test_a_crop_larger_than_the_pictures_is_named(tiny_yaml: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(PATCHES.format(base=tiny_yaml), encoding="utf-8")
    override = "DataLoader.Train.dataset.transform_ops.0.RandomCrop.size=64"
    with pytest.raises(DataError, match=r"RandomCrop of 64x64 does not fit .*32x32"):
        Engine(load_config(path, [override]), "train").train()
