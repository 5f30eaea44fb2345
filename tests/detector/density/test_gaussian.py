"""GaussianDensity against SciPy in float64, its degenerate cases, and its exported graphs."""

import warnings

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf

from ppcls_sspcab.detector.density.gaussian import GaussianDensity
from ppcls_sspcab.errors import DataError, ModelError
from ppcls_sspcab.registry import DENSITIES


def embeddings(count, size, seed=0, spread=0.3):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(size, size)) * np.geomspace(1, 1e-2, size)
    return (1.0 + spread * rng.normal(size=(count, size)) @ mixing).astype(np.float32)


def unit(points):
    points = points.astype(np.float64)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def mahalanobis(good, others):
    """The definition, with SciPy and scikit-learn in float64."""
    model = LedoitWolf().fit(good)
    return cdist(others, model.location_[None], "mahalanobis", VI=model.precision_)[:, 0]


@pytest.mark.parametrize("count", [30, 400], ids=["fewer than dimensions", "more than dimensions"])
@pytest.mark.parametrize("normalize", [True, False])
def test_is_the_mahalanobis_distance(count, normalize):
    good, others = embeddings(count, 64), embeddings(50, 64, seed=1)
    density = GaussianDensity(embedding_size=64, normalize=normalize)
    density.fit(good)
    prepare = unit if normalize else np.float64
    np.testing.assert_allclose(
        density.score(others), mahalanobis(prepare(good), prepare(others)), rtol=1e-4
    )


def test_a_nearly_singular_covariance_keeps_its_digits():
    rng = np.random.default_rng(0)
    base = np.ones(128) + 0.1 * rng.normal(size=128)
    good = base + rng.normal(size=(5000, 128)) * np.geomspace(0.1, 3e-3, 128)
    good = good.astype(np.float32)
    density = GaussianDensity(128, normalize=False)
    density.fit(good)
    expected = mahalanobis(good.astype(np.float64), good[:50].astype(np.float64))
    np.testing.assert_allclose(density.score(good[:50]), expected, rtol=1e-4)


def test_the_length_of_an_embedding_does_not_count():
    good = embeddings(40, 16)
    density = GaussianDensity(16)
    density.fit(good)
    np.testing.assert_allclose(density.score(good * 37), density.score(good), rtol=1e-3)


def test_rotating_the_space_does_not_change_a_score():
    good, others = embeddings(40, 16), embeddings(20, 16, seed=1)
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(16, 16)))[0]
    scores = []
    for turn in (np.eye(16), rotation):
        density = GaussianDensity(16)
        density.fit(good @ turn)
        scores.append(density.score(others @ turn))
    np.testing.assert_allclose(*scores, rtol=1e-3)


def test_refitting_forgets_the_first_fit():
    first, second = GaussianDensity(16), GaussianDensity(16)
    first.fit(embeddings(30, 16, seed=1))
    first.fit(embeddings(30, 16, seed=2))
    second.fit(embeddings(30, 16, seed=2))
    for name, array in first.arrays().items():
        np.testing.assert_array_equal(array, second.arrays()[name])


@pytest.mark.parametrize(
    "good",
    [
        np.ones((5, 8)),
        np.zeros((5, 8)),
        np.eye(8)[:2],
        np.repeat(np.eye(8)[:2], 10, axis=0),
        np.eye(8)[[0] * 20 + [1]],
        np.ones((5, 8)) * 1e-30,
        np.ones((5, 8)) * 1e30,
    ],
    ids=["constant", "zero", "two", "duplicates", "one differs", "tiny", "huge"],
)
@pytest.mark.parametrize("normalize", [True, False])
def test_degenerate_pictures_give_finite_scores_without_a_warning(good, normalize):
    density = GaussianDensity(8, normalize)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        density.fit(good)
    others = np.concatenate([good, np.random.default_rng(0).normal(size=(5, 8)), np.zeros((1, 8))])
    scores = density.score(others)
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()


def test_another_picture_scores_far_above_identical_good_ones():
    density = GaussianDensity(8)
    density.fit(np.ones((5, 8)))
    same, other = density.score(np.stack([np.ones(8), np.eye(8)[0]]))
    assert same < 1
    assert other > 100


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=4, max_size=4),
    st.booleans(),
)
def test_every_finite_embedding_has_a_finite_score(values, normalize):
    density = GaussianDensity(4, normalize)
    density.fit(embeddings(10, 4))
    (score,) = density.score(np.array([values], np.float32))
    assert 0 <= score < np.inf


def test_one_picture_is_refused_with_the_count_needed():
    with pytest.raises(DataError, match="at least 2 good pictures, got 1"):
        GaussianDensity(8).fit(np.ones((1, 8)))


def test_broken_embeddings_are_refused():
    good = np.ones((4, 8))
    good[2, 3] = np.nan
    with pytest.raises(ModelError, match=r"1 of 4 good pictures \(first: number 2\)"):
        GaussianDensity(8).fit(good)
    with pytest.raises(ModelError, match=r"shape \[4, 9\]"):
        GaussianDensity(8).fit(np.ones((4, 9)))


def test_an_unfitted_density_calls_nothing_good():
    assert np.isnan(GaussianDensity(8).score(np.ones((2, 8)))).all()


def test_arrays_restore_the_scores():
    density, restored = GaussianDensity(16), GaussianDensity(16)
    density.fit(embeddings(30, 16))
    restored.load_arrays(density.arrays())
    others = embeddings(5, 16, seed=3)
    np.testing.assert_array_equal(density.score(others), restored.score(others))


def test_arrays_of_another_model_are_refused():
    density = GaussianDensity(16)
    density.fit(embeddings(30, 16))
    arrays = density.arrays()
    with pytest.raises(ModelError, match="another embedding size"):
        GaussianDensity(8).load_arrays(arrays)
    with pytest.raises(ModelError, match="needs the arrays"):
        GaussianDensity(16).load_arrays({"mean": arrays["mean"]})
    with pytest.raises(ModelError, match="not finite"):
        GaussianDensity(16).load_arrays(arrays | {"mean": arrays["mean"] * np.nan})


def test_the_registry_builds_it_with_the_network_s_embedding_size():
    section = {"name": "GaussianDensity", "normalize": False}
    density = DENSITIES.build(section, "Density", embedding_size=12)
    assert density.embedding_size == 12
    assert list(density.state_dict()) == ["mean", "whitening"]


@pytest.mark.parametrize("name", ["GaussianDensity", "KernelDensity"])
def test_paddle_inference_gives_the_same_scores(name, tmp_path):
    from paddle.inference import Config, create_predictor

    density = DENSITIES.build({"name": name}, "Density", embedding_size=32)
    density.fit(embeddings(40, 32))
    density.eval()
    spec = [paddle.static.InputSpec([None, 32], "float32")]
    graph = paddle.jit.to_static(density, input_spec=spec, full_graph=True)
    paddle.jit.save(graph, str(tmp_path / "inference"))
    predictor = create_predictor(Config(str(tmp_path), "inference"))
    for count in (1, 7):
        others = embeddings(count, 32, seed=5)
        (scores,) = predictor.run([paddle.to_tensor(others)])
        np.testing.assert_allclose(scores.numpy(), density.score(others), rtol=1e-4)
