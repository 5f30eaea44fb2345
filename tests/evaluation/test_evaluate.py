"""Evaluation: pixel metrics in the results."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.engine.engine import Engine
from ppcls_sspcab.errors import DataError


def test_the_results_hold_the_pixel_metrics(tiny_yaml: Path) -> None:
    config = load_config(tiny_yaml, ["Global.epochs=1", "Score.name=map_max"])
    Engine(config, "train").train()
    (results,) = Engine(config, "eval").eval()
    folder = config.folder.root
    written = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    for name in ("pixel_auroc", "aupro", "pixel_f1_max", "pixel_iou", "pixel_f1"):
        assert 0 <= written[name] <= 1
        assert written[name] == getattr(results.pixel, name)
    assert written["pixel_counts"]["pictures"] == written["counts"]["pictures"]
    assert written["pixel_auroc"] > 0.5
    assert "| pixel AUROC" in (folder / "results.md").read_text(encoding="utf-8")


def test_without_maps_there_are_no_pixel_metrics(tiny_yaml: Path) -> None:
    config = load_config(tiny_yaml, ["Global.epochs=1", "Localize=null"])
    Engine(config, "train").train()
    (results,) = Engine(config, "eval").eval()
    assert results.pixel is None
    written = json.loads((config.folder.root / "results.json").read_text(encoding="utf-8"))
    assert "pixel_auroc" not in written


def test_an_unfit_mask_is_named_before_the_training_and_left_out(
    tiny_yaml: Path, demo_root: Path, tmp_path: Path
) -> None:
    shutil.copytree(demo_root, tmp_path / "data")
    config = load_config(
        tiny_yaml, ["Global.epochs=1", "Score.name=map_max", f"Global.data_root={tmp_path}/data"]
    )
    category = config.Global.category
    first, second, *_ = sorted((tmp_path / "data" / category / "ground_truth").rglob("*.png"))
    with Image.open(first) as read:
        empty = np.zeros_like(np.asarray(read))
    Image.fromarray(empty).save(first)
    Image.fromarray(255 - empty).save(second)

    stopping = config.with_values(on_error="stop")
    with pytest.raises(DataError, match=f"{first.name} marks no pixel"):
        Engine(stopping, "train").train()
    Engine(config, "train").train()
    log = (config.folder.root / "train.log").read_text(encoding="utf-8")
    assert log.index(f"unfit mask: {first} ") < log.index(f"unfit mask: {second} ")
    assert log.index("2 unfit masks will be left out") < log.index("[Train]")

    (results,) = Engine(config, "eval").eval()
    assert results.pixel is not None
    counts = results.pixel.pixel_counts
    assert counts["unfit_masks"] == 2 and counts["without_mask"] == 0
    assert counts["pictures"] == results.counts["pictures"] - 2
    text = (config.folder.root / "results.md").read_text(encoding="utf-8")
    assert "2 bad pictures with an unfit mask are left out" in text
    with pytest.raises(DataError, match="marks no pixel"):
        Engine(stopping, "eval").eval()
