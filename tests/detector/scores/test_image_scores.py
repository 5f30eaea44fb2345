"""Image scores against plain numpy."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import nn
from scipy.special import log_softmax
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression

from ppcls_sspcab.detector.density.gaussian import GaussianDensity
from ppcls_sspcab.detector.scores.base import ImageScore
from ppcls_sspcab.detector.scores.fused import PENALTY, learnt_weights
from ppcls_sspcab.detector.scores.sspcab_error import SSPCABErrorScore
from ppcls_sspcab.detector.threshold.calibration import spread
from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.registry import IMAGE_SCORES

RNG = np.random.default_rng(0)
GOOD = {
    "embedding": RNG.normal(size=(40, 6)).astype(np.float32),
    "embedding_max": RNG.normal(3, 1, size=(40, 6)).astype(np.float32),
    "logits": RNG.normal(size=(40, 3)).astype(np.float32),
}
MAPS = RNG.random((40, 5, 7)).astype(np.float32)


class Layers(nn.Layer):
    """A network whose backbone has maps of strides 2, 8 and 16."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            ("first", nn.Conv2D(3, 4, 3, 2, 1)),
            ("second", nn.Conv2D(4, 4, 4, 4)),
            ("third", nn.Conv2D(4, 5, 2, 2)),
            ("last", nn.Conv2D(5, 5, 3, padding=1)),
        )

    def embed(self, images: paddle.Tensor) -> paddle.Tensor:
        return self.backbone(images).mean(axis=[2, 3])


class WithBlock(nn.Layer):
    """As much of a network with an SSPCAB block as ``sspcab_error`` asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = [nn.Identity()]


def build(section: dict) -> ImageScore:
    known = {"density": lambda: GaussianDensity(6), "network": Layers(), "image_size": [64, 96]}
    return IMAGE_SCORES.build(section, "Score", **known)


def run(score: ImageScore) -> np.ndarray:
    features = {name: paddle.to_tensor(value) for name, value in GOOD.items()}
    return score(features, paddle.to_tensor(MAPS)).numpy()


@pytest.mark.parametrize("name", ["embedding", "embedding_max"])
def test_embedding_scores_are_the_densitys(name: str) -> None:
    score, density = build({"name": name}), GaussianDensity(6)
    score.fit_batches([GOOD])
    density.fit(GOOD[name])
    assert score.needs == (name,)
    np.testing.assert_allclose(run(score), density.score(GOOD[name]), rtol=1e-6)


def test_the_logit_score_orders_as_the_log_probability_does() -> None:
    found = run(build({"name": "logit"}))
    log_p = log_softmax(GOOD["logits"].astype(np.float64), axis=1)[:, 0]
    np.testing.assert_allclose(found, np.log(np.expm1(-log_p)), rtol=1e-4, atol=1e-5)
    # Where p is 1 in float32, pictures still differ.
    sure = {"logits": paddle.to_tensor([[90.0, 0.0, 0.0], [95.0, 0.0, 0.0]])}
    assert np.diff(build({"name": "logit"})(sure, None).numpy())[0] == pytest.approx(-5)


def test_map_max_is_the_largest_value_or_the_mean_of_the_largest() -> None:
    np.testing.assert_array_equal(run(build({"name": "map_max"})), MAPS.max(axis=(1, 2)))
    expected = np.sort(MAPS.reshape(40, -1), axis=1)[:, -4:].mean(axis=1)
    np.testing.assert_allclose(run(build({"name": "map_max", "top": 4})), expected, rtol=1e-6)


def test_sspcab_error_is_the_blocks_largest_or_the_mean_of_the_largest() -> None:
    given, predicted = RNG.random((2, 40, 3, 4, 5)).astype(np.float32)
    features = {"block_input": paddle.to_tensor(given), "block_output": paddle.to_tensor(predicted)}
    cells = np.abs(predicted - given).mean(axis=1).reshape(40, -1)
    for top in (1, 4):
        score = SSPCABErrorScore(WithBlock(), top)
        expected = np.sort(cells, axis=1)[:, -top:].mean(axis=1)
        np.testing.assert_allclose(score(features, None).numpy(), expected, rtol=1e-6)


def test_sspcab_error_needs_a_block() -> None:
    with pytest.raises(ConfigError, match="needs a network with a block"):
        build({"name": "sspcab_error"})


def test_place_max_is_the_farthest_place_under_one_gaussian() -> None:
    score = build({"name": "place_max"})
    assert score.needs == ("backbone.last",)  # the last of stride 16
    maps = RNG.normal(size=(30, 5, 4, 6)).astype(np.float32)
    score.fit_batches([{"backbone.last": maps}])
    found = score({"backbone.last": paddle.to_tensor(maps)}, None).numpy()
    points = maps.transpose(0, 2, 3, 1).reshape(-1, 5).astype(float)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    estimate = LedoitWolf().fit(points)
    centred = points - estimate.location_
    squares = np.sum(centred @ np.linalg.inv(estimate.covariance_) * centred, axis=1)
    np.testing.assert_allclose(found, np.sqrt(squares).reshape(30, -1).max(axis=1), rtol=1e-3)
    # It does not matter where a place lies.
    shuffled = maps.reshape(30, 5, 24)[:, :, RNG.permutation(24)].reshape(30, 5, 4, 6)
    again = score({"backbone.last": paddle.to_tensor(shuffled)}, None).numpy()
    np.testing.assert_allclose(again, found, rtol=1e-5)
    assert build({"name": "place_max", "layer": "second"}).needs == ("backbone.second",)
    with pytest.raises(ConfigError, match=r"Score\.layer.*did you mean 'second'"):
        build({"name": "place_max", "layer": "secnd"})


@pytest.mark.parametrize("combine", ["max", "mean"])
def test_fused_parts_have_one_scale(combine: str) -> None:
    names = ["embedding", "embedding_max", "logit", "map_max"]
    score = build({"name": "fused", "parts": names, "combine": combine})
    score.fit_batches([GOOD])
    columns = []
    for name in names:
        single = build({"name": name})
        single.fit_batches([GOOD])
        columns.append(run(single))
    parts = np.stack(columns, axis=1)
    score.standardize(parts)
    median = np.median(parts, axis=0)
    deviations = (parts - median) / (1.4826 * np.median(np.abs(parts - median), axis=0))
    expected = deviations.mean(axis=1) if combine == "mean" else deviations.max(axis=1)
    np.testing.assert_allclose(run(score), expected, rtol=1e-3, atol=1e-4)
    assert score.part_count == 4
    assert score.needs == ("embedding", "embedding_max", "logits")
    assert score.needs_map


def test_the_unit_of_a_part_does_not_matter() -> None:
    score = build({"name": "fused", "parts": ["embedding", "logit"]})
    parts = RNG.normal(size=(30, 2))
    found = []
    for unit in (1.0, 1000.0):
        scaled = parts * [1.0, unit] + [0.0, unit]
        score.standardize(scaled)
        found.append(score.combine(paddle.to_tensor(scaled.astype(np.float32))).numpy())
    np.testing.assert_allclose(*found, rtol=1e-3, atol=1e-4)


def test_learnt_weights_are_those_of_a_logistic_regression() -> None:
    good = RNG.normal(size=(60, 2))
    bad = RNG.normal((1.5, 0.5), size=(90, 2))
    model = LogisticRegression(C=1 / (2 * PENALTY * 150), class_weight="balanced", tol=1e-8)
    labels = np.repeat([0, 1], [60, 90])
    expected = model.fit(np.concatenate([good, bad]), labels).coef_[0]
    assert (expected > 0).all()
    found = learnt_weights(good, bad)
    np.testing.assert_allclose(found, expected / expected.sum(), atol=1e-3)


def test_learnt_weights_drop_parts_that_say_nothing_or_the_opposite() -> None:
    good, bad = RNG.normal(size=(50, 3)), RNG.normal((2, 0, -2), size=(200, 3))
    weights = learnt_weights(good, bad)
    assert weights[0] > 0.85
    assert weights[2] == 0
    np.testing.assert_allclose(learnt_weights(bad[:, 2:], good[:, 2:]), [1])
    np.testing.assert_allclose(learnt_weights(good[:, 1:] * 0, good[:, 1:] * 0), [0.5, 0.5])


def test_a_fused_score_that_learns_counts_its_parts_by_what_they_tell() -> None:
    sections = [
        {"name": "fused", "parts": ["embedding", "logit"], "combine": "learnt"},
        {"name": "logit"},
    ]
    auto = build({"name": "auto", "scores": sections})
    assert auto.learns_weights
    good = RNG.normal(size=(50, 3)) * [3, 1, 1] + [100, 5, 5]
    auto.standardize(good)
    fused = auto.candidates(good)["fused"][0]
    np.testing.assert_allclose(fused.weights.numpy(), [0.5, 0.5])
    bad = RNG.normal(size=(200, 3)) * [3, 1, 1] + [100, 8, 5]
    auto.learn_weights(good, bad)
    assert fused.weights.numpy()[1] > 0.9
    deviations = (bad - np.median(good, axis=0)) / [spread(column) for column in good.T]
    found = fused.combine(paddle.to_tensor(bad[:, :2].astype(np.float32))).numpy()
    np.testing.assert_allclose(
        found, deviations[:, :2] @ fused.weights.numpy(), rtol=1e-3, atol=1e-3
    )


def test_candidates_are_each_what_they_are_alone() -> None:
    sections = [{"name": "logit"}, {"name": "fused", "parts": ["embedding", "map_max"]}]
    both = build({"name": "auto", "scores": sections})
    features = {name: paddle.to_tensor(value) for name, value in GOOD.items()}
    both.fit_batches([GOOD])
    parts = both.parts(features, paddle.to_tensor(MAPS)).numpy()
    both.standardize(parts)
    candidates = both.candidates(parts)
    assert list(candidates) == ["logit", "fused"]
    for section, (score, columns) in zip(sections, candidates.values(), strict=True):
        alone = build(section)
        alone.fit_batches([GOOD])
        alone.standardize(alone.parts(features, paddle.to_tensor(MAPS)).numpy())
        found = score.combine(paddle.to_tensor(columns)).numpy()
        np.testing.assert_allclose(found, run(alone), rtol=1e-5)
    np.testing.assert_array_equal(run(both), run(candidates["logit"][0]))


def test_wrong_sections_are_named() -> None:
    with pytest.raises(ConfigError, match="at least two"):
        build({"name": "fused", "parts": ["logit"]})
    with pytest.raises(ConfigError, match="cannot be made of several"):
        build({"name": "fused", "parts": ["logit", "fused"]})
    with pytest.raises(ConfigError, match="did you mean 'map_max'"):
        build({"name": "map_mox"})
    with pytest.raises(ConfigError, match="top"):
        build({"name": "map_max", "top": 0})
