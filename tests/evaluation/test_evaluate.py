"""Evaluation: pixel metrics in the results."""

from __future__ import annotations

import json
from pathlib import Path

from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.engine.engine import Engine


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
