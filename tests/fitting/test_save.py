"""What a detector's card keeps of the fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
import pytest

from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.detector.file import load_detector
from ppcls_sspcab.detector.scores.composite import score_written_out
from ppcls_sspcab.detector.scores.place_gaussian import PlaceGaussianScore
from ppcls_sspcab.engine.engine import Engine


def test_a_later_version_with_other_defaults_scores_a_detector_as_before(
    tiny_yaml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = "Score={name: fused, parts: [place_gaussian, {name: map_max, top: 2}]}"
    config = load_config(tiny_yaml, ["Global.epochs=0", score])
    Engine(config, "train").train()
    images = paddle.to_tensor(
        np.random.default_rng(0).normal(size=(3, 3, *config.Preprocess.image_size)), "float32"
    )
    before = load_detector(config.folder.detector)
    assert before.card is not None
    place, largest = before.card.score["parts"]
    assert (place["name"], place["top"], place["layers"]) == ("place_gaussian", 3, "auto")
    assert largest == {"name": "map_max", "top": 2}
    assert before.card.localize is not None and before.card.localize["rank"] == 32
    with paddle.no_grad():
        expected = before(images)["score"].numpy()

    defaults = (*PlaceGaussianScore.__init__.__defaults__[:-1], 9)
    monkeypatch.setattr(PlaceGaussianScore.__init__, "__defaults__", defaults)
    assert score_written_out({"name": "place_gaussian"})["top"] == 9
    with paddle.no_grad():
        after = load_detector(config.folder.detector)(images)["score"].numpy()
    np.testing.assert_array_equal(after, expected)
