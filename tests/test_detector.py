"""The Detector: one forward, checked against plain numpy, and a file that brings it all back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import paddle
import pytest

from ppcls_sspcab.density.gaussian import GaussianDensity
from ppcls_sspcab.density.threshold import TargetFPR
from ppcls_sspcab.detector import Detector, DetectorCard
from ppcls_sspcab.engine.onednn import accelerated
from ppcls_sspcab.errors import ModelError
from ppcls_sspcab.registry import ARCHITECTURES
from ppcls_sspcab.runtime.image import Preprocess

ARCH = {
    "name": "CutPasteNet",
    "class_num": 3,
    "Backbone": {"name": "resnet18"},
    "Block": {"name": "SSPCAB"},
}


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(7, 3, 32, 48)).astype(np.float32)


@pytest.fixture(scope="module")
def detector(images: np.ndarray) -> Detector:
    paddle.seed(0)
    network = ARCHITECTURES.build(ARCH, "Arch")
    network.eval()
    made = Detector(network, GaussianDensity(embedding_size=network.embedding_size))
    made.eval()
    with paddle.no_grad():
        embeddings = network.embed(paddle.to_tensor(images)).numpy()
    made.density.fit(embeddings)
    made.calibrate(TargetFPR(0.2).fit(made.density.score(embeddings)))
    return made


def run(detector: Detector, images: np.ndarray) -> dict[str, np.ndarray]:
    with paddle.no_grad():
        return {key: value.numpy() for key, value in detector(paddle.to_tensor(images)).items()}


def card() -> DetectorCard:
    return DetectorCard(ARCH, {"name": "GaussianDensity"}, Preprocess((32, 48)), "Teil Nr. 7/ä")


def test_the_normalised_score_is_one_half_at_the_threshold(
    detector: Detector, images: np.ndarray
) -> None:
    found = run(detector, images)
    score, normalized = found["score"].astype(float), found["normalized_score"].astype(float)
    deviation = (score - float(detector.threshold)) / float(detector.scale)
    np.testing.assert_allclose(normalized, 0.5 + 0.5 * deviation / (1 + abs(deviation)), atol=1e-5)
    assert ((normalized > 0.5) == (score > float(detector.threshold))).all()
    assert (np.argsort(normalized) == np.argsort(score)).all()


def test_a_score_does_not_depend_on_the_rest_of_the_batch(
    detector: Detector, images: np.ndarray
) -> None:
    together = run(detector, images)["score"]
    alone = np.concatenate([run(detector, image[None])["score"] for image in images])
    np.testing.assert_allclose(together, alone, rtol=1e-4)


def test_the_onednn_network_gives_what_eager_mode_gives(
    detector: Detector, images: np.ndarray
) -> None:
    eager = run(detector, images)
    with accelerated(detector, (32, 48)):
        fast = run(detector, images)
    np.testing.assert_allclose(fast["embedding"], eager["embedding"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(fast["score"], eager["score"], rtol=1e-3)
    np.testing.assert_array_equal(run(detector, images)["score"], eager["score"])


def test_a_saved_detector_comes_back_with_the_same_scores(
    detector: Detector, images: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "detector.safetensors"
    detector.save(path, card())
    loaded, read = Detector.load(path)
    assert read == card()
    assert not loaded.training
    for key, value in run(detector, images).items():
        np.testing.assert_array_equal(run(loaded, images)[key], value, err_msg=key)
    assert json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["category"] == (
        "Teil Nr. 7/ä"
    )


def test_files_that_are_no_detector_are_refused(detector: Detector, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    path = tmp_path / "detector.safetensors"
    with pytest.raises(ModelError, match="no such file"):
        Detector.load(path)
    save_file({"a": np.zeros(1, np.float32)}, path)
    with pytest.raises(ModelError, match="no detector"):
        Detector.load(path)
    detector.save(path, card())
    arrays = load_file(path)
    text = json.dumps(card().to_dict())
    dropped = {name: value for name, value in arrays.items() if "conv1" not in name}
    for broken_arrays, broken_text in (
        (dropped, text),
        ({n: v for n, v in arrays.items() if n != "threshold"}, text),
        (arrays, text.replace('"format": 1', '"format": 99')),
        (arrays, "{}"),
        (arrays, "no json"),
    ):
        save_file(broken_arrays, path, {"detector": broken_text})
        with pytest.raises(ModelError, match=str(path)):
            Detector.load(path)
