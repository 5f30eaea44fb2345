"""Fitting a detector: the choice of the image score, and what calibrates what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from ppcls_sspcab.arch.build import build_network
from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.data.build import good_pictures
from ppcls_sspcab.data.split import evenly_spread
from ppcls_sspcab.detector.build import build_threshold, unfitted_detector
from ppcls_sspcab.detector.file import load_detector
from ppcls_sspcab.detector.fitted import fitted_arrays
from ppcls_sspcab.detector.run import Outputs, detect
from ppcls_sspcab.detector.scores.embedding import EmbeddingScore
from ppcls_sspcab.engine.engine import Engine
from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.fitting import run as scoring
from ppcls_sspcab.fitting.fit import FittedDetector, fit_detector
from ppcls_sspcab.fitting.validation import (
    LEAST_GAIN,
    Comparison,
    chosen_score,
    gain_error,
    synthetic_auroc,
)
from ppcls_sspcab.registry import IMAGE_SCORES


def fit(path: Path, *overrides: str) -> FittedDetector:
    config = load_config(path, overrides)
    network = build_network(config)
    network.eval()
    detector = unfitted_detector(config, network)
    return fit_detector(detector, build_threshold(config), config, good_pictures(config))


def test_the_score_is_the_best_on_synthetic_defects(tiny_yaml: Path) -> None:
    fitted = fit(tiny_yaml, "Score.name=auto")
    aurocs = fitted.synthetic_auroc
    names = ["place_gaussian", "map_max", "patch_bank", "embedding", "embedding_max", "place_max"]
    assert list(aurocs) == ["fused", *names, "logit"]
    assert aurocs[fitted.score["name"]] >= aurocs["fused"]
    assert type(fitted.detector.image_score) is IMAGE_SCORES.get(fitted.score["name"])
    assert not fitted.calibration.guaranteed


def test_validation_goes_by_the_score_that_will_be_used(tiny_yaml: Path) -> None:
    config = load_config(tiny_yaml, ["Score.name=auto"])
    network = build_network(config)
    network.train()
    detector, pictures = unfitted_detector(config, network), good_pictures(config)
    network.train()
    figure = synthetic_auroc(detector, config, pictures)
    assert network.training
    network.eval()
    # The same detector is fitted again, as training does after its last validation.
    fitted = fit_detector(detector, build_threshold(config), config, pictures)
    assert figure in fitted.synthetic_auroc.values()
    assert figure >= next(iter(fitted.synthetic_auroc.values()))


@pytest.mark.parametrize(
    ("aurocs", "name"),
    [
        ({"fused": 0.80, "logit": 0.805, "embedding": 0.79}, "fused"),
        ({"fused": 0.80, "logit": 0.82, "embedding": 0.83}, "embedding"),
        ({"fused": 0.80, "logit": 0.70}, "fused"),
        ({"fused": 1.0, "logit": 1.0}, "fused"),
    ],
)
def test_the_fused_score_gives_way_only_to_a_clearly_better_one(
    aurocs: dict[str, float], name: str
) -> None:
    assert chosen_score(Comparison(aurocs, dict.fromkeys(aurocs, 0.0))) == name
    assert chosen_score(Comparison(aurocs, dict.fromkeys(aurocs, 0.1))) == "fused"


def test_the_error_of_a_gain_is_that_of_the_bootstrap() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [60, 90])
    shared = rng.normal(size=150) + labels
    first, second = shared + rng.normal(size=150), shared + 0.5 * rng.normal(size=150)
    gains = []
    for _ in range(1000):
        chosen = np.concatenate([rng.integers(0, 60, 60), rng.integers(60, 150, 90)])
        gains.append(
            roc_auc_score(labels[chosen], second[chosen])
            - roc_auc_score(labels[chosen], first[chosen])
        )
    assert gain_error(labels, first, second) == pytest.approx(np.std(gains), rel=0.15)
    assert gain_error(labels, first, first) == 0
    assert gain_error(labels[59:], first[59:], second[59:]) == np.inf


def test_pictures_that_memory_does_not_hold_are_read_again(
    tiny_yaml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(tiny_yaml)
    network = build_network(config)
    network.eval()
    read = good_pictures(config)
    good, held_out = read.train, read.held_out
    passes = []

    def counted(*arguments: Any) -> Iterator[Outputs]:
        passes.append(arguments)
        return run_store(*arguments)

    run_store = scoring.run_store
    monkeypatch.setattr(scoring, "run_store", counted)
    fitted = []
    for bytes_ in (1 << 30, 1000):
        monkeypatch.setattr(scoring, "FIT_BYTES", bytes_)
        detector = unfitted_detector(config, network)
        features = scoring.StoredFeatures(detector, good, 4)
        detector.fit(features)
        fitted.append((len(passes), fitted_arrays(detector), features.of(np.array([7, 2]))))
        passes.clear()
    (once, kept, some), (several, streamed, some_read) = fitted
    assert once == 1
    assert several > 1
    for name, array in kept.items():
        np.testing.assert_array_equal(streamed[name], array)
    for kept_batch, read_batch in zip(some, some_read, strict=True):
        for name, values in kept_batch.items():
            np.testing.assert_allclose(read_batch[name], values, rtol=1e-4, atol=1e-5)

    # What is never in memory together gives the same as what is.
    parts, pixels = scoring.stored_parts(detector, held_out, 1, "test", 100)
    calm = config.Preprocess.normalize(np.stack([held_out[i] for i in range(len(held_out))]))
    together = scoring.score_parts(detector, scoring.read_features(detector, calm), 100)
    np.testing.assert_allclose(parts, together[0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(pixels, together[1], rtol=1e-3, atol=1e-3)


def test_auto_chooses_from_scores_of_ones_own(tiny_yaml: Path) -> None:
    own = "[embedding, {name: map_max, top: 1}, {name: map_max, top: 9}]"
    fitted = fit(tiny_yaml, f"Score={{name: auto, scores: {own}}}")
    assert list(fitted.synthetic_auroc) == ["embedding", "map_max(top=1)", "map_max(top=9)"]
    sections = [{"name": "embedding"}, *({"name": "map_max", "top": top} for top in (1, 9))]
    gain = [one - fitted.synthetic_auroc["embedding"] for one in fitted.synthetic_auroc.values()]
    assert fitted.score in sections
    assert (fitted.score == sections[0]) or max(gain) > LEAST_GAIN
    assert not fitted.calibration.guaranteed
    with pytest.raises(ConfigError, match=r"Score\.scores: held-out pictures choose"):
        fit(tiny_yaml, f"Score={{name: auto, scores: {own}}}", "Threshold.calibrate_on=k_fold")
    with pytest.raises(ConfigError, match=r"Score\.scores: must be a list of two"):
        fit(tiny_yaml, "Score={name: auto, scores: [embedding]}")
    with pytest.raises(ConfigError, match=r"Score\.scores\.1: stands there twice"):
        fit(tiny_yaml, "Score={name: auto, scores: [embedding, {name: embedding}]}")
    with pytest.raises(ConfigError, match=r"Score\.scores\.1: must be the name"):
        fit(tiny_yaml, "Score={name: auto, scores: [embedding, {top: 1}]}")


def test_a_fused_score_learns_its_weights_where_pictures_are_held_out(tiny_yaml: Path) -> None:
    score = "Score={name: fused, parts: [logit, embedding, map_max], combine: learnt}"
    fitted = fit(tiny_yaml, score)
    weights = fitted.detector.image_score.weights.numpy()
    assert weights.sum() == pytest.approx(1)
    assert np.ptp(weights) > 0.01
    assert list(fitted.synthetic_auroc) == ["FusedScore"]
    folded = fit(tiny_yaml, score, "Threshold.calibrate_on=k_fold").detector.image_score
    np.testing.assert_allclose(folded.weights.numpy(), [1 / 3] * 3)


class Standardized(EmbeddingScore):
    """A score that the held-out pictures set, though nothing calls it fused."""

    def standardize(self, parts: np.ndarray) -> None:
        assert len(parts) > 0


def test_a_rate_is_guaranteed_only_where_held_out_pictures_did_nothing_else(
    tiny_yaml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(IMAGE_SCORES._entries, "standardized", Standardized)
    rate = "Threshold.target_fpr=0.5"  # two held-out pictures guarantee no lower one
    assert fit(tiny_yaml, "Score.name=embedding", rate).calibration.guaranteed
    for score in ("standardized", "{name: fused, parts: [logit, standardized]}"):
        fitted = fit(tiny_yaml, f"Score={score}" if "{" in score else f"Score.name={score}", rate)
        assert not fitted.calibration.guaranteed
        assert "not by proof" in fitted.calibration.note


@given(st.integers(1, 500), st.integers(1, 500))
def test_evenly_spread_leaves_no_gap(count: int, most: int) -> None:
    chosen = evenly_spread(count, most)
    assert chosen[0] == 0
    assert len(chosen) == min(count, most)
    gaps = np.diff([*chosen, count])
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


def test_a_detector_without_a_map_has_no_pixel_threshold(tiny_yaml: Path) -> None:
    fitted = fit(tiny_yaml, "Localize=null", "Score.name=embedding")
    assert fitted.pixel_calibration is None
    assert "good pictures cannot guarantee" in fitted.calibration.note
    images = np.zeros((2, 3, 32, 32), np.float32)
    assert set(detect(fitted.detector, images)) == {"score", "normalized_score", "embedding"}
    with pytest.raises(ConfigError, match="Localize"):
        fit(tiny_yaml, "Localize=null", "Score.name=map_max")


@pytest.mark.parametrize("score", ["embedding_max", "map_max", "auto"])
def test_k_fold_calibrates_score_and_map_on_every_picture(tiny_yaml: Path, score: str) -> None:
    fitted = fit(tiny_yaml, "Threshold.calibrate_on=k_fold", f"Score.name={score}")
    assert fitted.score["name"] == ("fused" if score == "auto" else score)
    assert fitted.calibration.pictures == fitted.pixel_calibration.pictures == 12
    assert not fitted.calibration.guaranteed
    config = load_config(tiny_yaml)
    read = good_pictures(config)
    pictures = np.stack(
        [store[i] for store in (read.train, read.held_out) for i in range(len(store))]
    )
    found = detect(fitted.detector, config.Preprocess.normalize(pictures))
    # The pictures are now known, so they lie further below the thresholds than new ones.
    assert np.mean(found["map"] > 0.5) < 0.005
    assert np.mean(found["normalized_score"] > 0.5) < 0.1


def test_what_was_chosen_is_written_into_the_results(tiny_yaml: Path) -> None:
    config = load_config(tiny_yaml)
    Engine(config, "train").train()
    (results,) = Engine(config, "eval").eval()
    card = load_detector(config.folder.detector).card
    assert results.protocol["image_score"] == card.score["name"]
    compared = results.protocol["image_score_auroc_on_synthetic_defects"]
    assert {"embedding", "logit", "place_gaussian"} < set(compared)
