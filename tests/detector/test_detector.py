"""The Detector: one forward, checked against plain numpy, and a file that brings it all back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import paddle
import pytest

from ppcls_sspcab.detector.accelerated import accelerated
from ppcls_sspcab.detector.build import build_detector
from ppcls_sspcab.detector.card import DEFAULT_SCORE, DetectorCard
from ppcls_sspcab.detector.detector import MAX_INPUT_PIXELS, Detector
from ppcls_sspcab.detector.file import load_detector, write_detector
from ppcls_sspcab.detector.fitted import fitted_arrays, load_fitted_arrays
from ppcls_sspcab.detector.run import detect, read_features
from ppcls_sspcab.detector.threshold.target_fpr import TargetFPR
from ppcls_sspcab.errors import ConfigError, ModelError
from ppcls_sspcab.fitting.run import combine, score_parts
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.registry import ARCHITECTURES
from ppcls_sspcab.utils.weights import read_safetensors, write_safetensors

ARCH = {
    "name": "CutPasteNet",
    "class_num": 3,
    "Backbone": {"name": "resnet18"},
    "Block": {"name": "SSPCAB"},
}


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(7, 3, 32, 48)).astype(np.float32)


def fitted(
    images: np.ndarray, score: dict, localize: dict | None, tiling: dict | None = None
) -> Detector:
    paddle.seed(0)
    network = ARCHITECTURES.build(ARCH, "Arch")
    network.eval()
    density = {"name": "GaussianDensity"}
    made = build_detector(network, (32, 48), density, score, localize, tiling)
    found = read_features(made, images)
    made.fit([found])
    parts, pixels = score_parts(made, found, 1000)
    made.image_score.standardize(parts)
    calibration = TargetFPR(0.2).calibrate(combine(made.image_score, parts))
    made.calibrate(calibration, TargetFPR(0.01).calibrate(pixels) if localize else None)
    return made


@pytest.fixture(scope="module")
def detector(images: np.ndarray) -> Detector:
    return fitted(images, DEFAULT_SCORE, None)


# A small bank and a map of the pictures it was fitted to: few of their places are in the bank.
BANK = {"name": "patch_bank", "size": 5}
FUSED = {"name": "fused", "parts": ["embedding", "embedding_max", "logit", "map_max", BANK]}
TILES = {"size": [32, 32], "overlap": 0.5}
MAPS: dict[str, tuple[dict, dict | None]] = {
    "FeatureGaussian": ({"name": "FeatureGaussian", "channels": 16}, None),
    "PatchBank": ({"name": "PatchBank", "size": 5, "position": 0.5}, None),
    "SSPCABError": ({"name": "SSPCABError"}, None),
    "PatchCutPaste": (
        {"name": "PatchCutPaste", "patch_size": 16, "stride": 8, "channels": 16},
        None,
    ),
    "tiles": ({"name": "FeatureGaussian", "channels": 16}, TILES),
}


@pytest.fixture(scope="module", params=MAPS.values(), ids=MAPS)
def mapping(images: np.ndarray, request: pytest.FixtureRequest) -> tuple[Detector, DetectorCard]:
    """A detector with a map, and its card."""
    localize, tiling = request.param
    made = dataclasses.replace(card(), score=FUSED, localize=localize, tiling=tiling)
    return fitted(images, FUSED, localize, tiling), made


def run(detector: Detector, images: np.ndarray) -> dict[str, np.ndarray]:
    with paddle.no_grad():
        return {key: value.numpy() for key, value in detector(paddle.to_tensor(images)).items()}


def uncalibrated(detector: Detector, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Score [N] and map [N, H, W]."""
    with paddle.no_grad():
        parts, anomaly_map = detector.parts(detector.features(paddle.to_tensor(images)))
        return detector.image_score.combine(parts).numpy(), anomaly_map.numpy()


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


@pytest.mark.slow
def test_the_onednn_network_gives_what_eager_mode_gives(
    detector: Detector, images: np.ndarray
) -> None:
    eager = run(detector, images)
    with accelerated(detector):
        fast = run(detector, images)
    np.testing.assert_allclose(fast["embedding"], eager["embedding"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(fast["score"], eager["score"], rtol=1e-3)
    np.testing.assert_array_equal(run(detector, images)["score"], eager["score"])


def test_a_saved_detector_comes_back_with_the_same_scores(
    detector: Detector, images: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "detector.safetensors"
    detector.card = card()
    write_detector(detector, path)
    loaded = load_detector(path)
    read = loaded.card
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
        load_detector(path)
    save_file({"a": np.zeros(1, np.float32)}, path)
    with pytest.raises(ModelError, match="no detector"):
        load_detector(path)
    detector.card = card()
    write_detector(detector, path)
    arrays = load_file(path)
    text = json.dumps(card().to_dict())
    dropped = {name: value for name, value in arrays.items() if "conv1" not in name}
    for broken_arrays, broken_text in (
        (dropped, text),
        ({n: v for n, v in arrays.items() if n != "threshold"}, text),
        (arrays, text.replace('"format": 4', '"format": 99')),
        (arrays, "{}"),
        (arrays, "no json"),
    ):
        save_file(broken_arrays, path, {"detector": broken_text})
        with pytest.raises(ModelError, match=str(path)):
            load_detector(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("threshold", np.array(0.5, np.float64), "'threshold' is missing or damaged"),
        ("threshold", np.array(1, np.int32), "'threshold' is missing or damaged"),
        ("threshold", np.array([0.5], np.float32), "'threshold' is missing or damaged"),
        ("threshold", np.array(np.nan, np.float32), "'threshold' holds values that are no numbers"),
        ("scale", np.array(0, np.float32), r"scale must be above 0, not 0\.0"),
        ("scale", np.array(-1, np.float32), r"scale must be above 0, not -1\.0"),
        ("scale", np.array(np.inf, np.float32), "'scale' holds values that are no numbers"),
        ("network.backbone.conv1.weight", np.nan, "conv1.weight' holds values that are no numb"),
    ],
)
def test_a_damaged_detector_is_one_error(
    detector: Detector, tmp_path: Path, name: str, value: np.ndarray | float, message: str
) -> None:
    path = tmp_path / "detector.safetensors"
    detector.card = card()
    write_detector(detector, path)
    arrays, texts = read_safetensors(path)
    given = value if isinstance(value, np.ndarray) else np.full_like(arrays[name], value)
    write_safetensors(path, {**arrays, name: given}, texts)
    with pytest.raises(ModelError, match=message):
        load_detector(path)


def test_a_detector_is_read_once(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is exchanged while it is loaded: no old threshold with new weights."""
    path, read = tmp_path / "detector.safetensors", Path.read_bytes
    detector.card = card()
    write_detector(detector, path)

    def exchanged(given: Path) -> bytes:
        content = read(given)
        given.write_bytes(b"another detector")
        return content

    monkeypatch.setattr(Path, "read_bytes", exchanged)
    assert float(load_detector(path).threshold) == float(detector.threshold)
    assert read(path) == b"another detector"


def test_the_map_is_one_half_at_the_pixel_threshold(
    mapping: tuple[Detector, DetectorCard], images: np.ndarray
) -> None:
    detector, _ = mapping
    found = run(detector, images)["map"]
    _, raw = uncalibrated(detector, images)
    deviation = (raw - float(detector.pixel_threshold)) / float(detector.pixel_scale)
    np.testing.assert_allclose(found, 0.5 + 0.5 * deviation / (1 + abs(deviation)), atol=1e-4)
    assert found.shape == (7, 32, 48)
    above = raw > float(detector.pixel_threshold)
    assert np.mean(above) <= 0.02
    assert np.mean((found > 0.5) == above) > 0.999


def test_a_map_is_not_scaled_by_its_own_picture(
    mapping: tuple[Detector, DetectorCard], images: np.ndarray
) -> None:
    detector, _ = mapping
    together = run(detector, images)["map"]
    alone = np.concatenate([run(detector, image[None])["map"] for image in images])
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-4)
    # Another picture than the detector was fitted to; of another scale alone would not do, since
    # patches' embeddings are of length one.
    odd = images[:1].copy()
    odd[..., 8:24, 8:24] = 8.0
    assert run(detector, odd)["map"].max() > together[0].max() + 0.01


@pytest.mark.slow
def test_a_detector_with_a_map_comes_back_and_runs_by_onednn(
    mapping: tuple[Detector, DetectorCard], images: np.ndarray, tmp_path: Path
) -> None:
    detector, described = mapping
    path = tmp_path / "detector.safetensors"
    detector.card = described
    write_detector(detector, path)
    loaded = load_detector(path)
    read = loaded.card
    assert read == described
    expected = run(detector, images)
    for key, value in run(loaded, images).items():
        np.testing.assert_array_equal(value, expected[key], err_msg=key)
    with accelerated(loaded):
        for key, value in run(loaded, images).items():
            np.testing.assert_allclose(value, expected[key], rtol=1e-3, atol=1e-3, err_msg=key)


@pytest.mark.slow
def test_both_runtimes_give_the_same_map(
    mapping: tuple[Detector, DetectorCard], tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime", reason="the ONNX extra is not installed")
    from ppcls_sspcab.exporting.export import export_detector
    from ppcls_sspcab.runtime.predictor import BACKENDS, Predictor

    detector, described = mapping
    folder = export_detector(detector, described, tmp_path / "inference", ("paddle", "onnx"))
    pixels = np.random.default_rng(3).integers(0, 256, (3, 32, 48, 3), np.uint8)
    expected = run(detector, described.preprocess.normalize(pixels))
    for backend in BACKENDS:
        found = Predictor(folder, backend=backend).outputs(list(pixels))
        assert set(found) == {"score", "normalized_score", "embedding", "map"}
        for key, value in expected.items():
            np.testing.assert_allclose(found[key], value, rtol=1e-3, atol=1e-3, err_msg=key)


def test_the_network_runs_once_for_score_and_map(
    mapping: tuple[Detector, DetectorCard], images: np.ndarray
) -> None:
    detector, _ = mapping
    runs = []
    hook = detector.network.backbone.register_forward_post_hook(lambda *_: runs.append(1))
    run(detector, images)
    hook.remove()
    # A padded network has to look at every patch by itself, all in one batch.
    patches = detector.localizer is not None and detector.localizer.input_pixels > 0
    assert len(runs) == (2 if patches else 1)


@pytest.mark.slow
def test_a_tiled_picture_scores_as_its_worst_tile(images: np.ndarray) -> None:
    by_max = {**FUSED, "combine": "max"}
    tiled = fitted(images, by_max, MAPS["tiles"][0], TILES)
    paddle.seed(0)
    network = ARCHITECTURES.build(ARCH, "Arch")
    network.eval()
    plain = build_detector(
        network, (32, 32), {"name": "GaussianDensity"}, by_max, MAPS["tiles"][0], None
    )
    load_fitted_arrays(plain, fitted_arrays(tiled))
    tiles = [uncalibrated(plain, images[..., first : first + 32]) for first in (0, 16)]
    score, joined = uncalibrated(tiled, images)
    np.testing.assert_allclose(score, np.maximum(tiles[0][0], tiles[1][0]), rtol=1e-4, atol=1e-4)
    left, right = tiles[0][1], tiles[1][1]
    np.testing.assert_allclose(joined[..., :16], left[..., :16], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(joined[..., 32:], right[..., 16:], rtol=1e-4, atol=1e-4)
    between = (
        np.minimum(left[..., 16:], right[..., :16]),
        np.maximum(left[..., 16:], right[..., :16]),
    )
    assert (joined[..., 16:32] >= between[0] - 1e-4).all()
    assert (joined[..., 16:32] <= between[1] + 1e-4).all()


@pytest.mark.slow
def test_pictures_run_together_as_far_as_memory_allows(images: np.ndarray) -> None:
    plain = fitted(images, DEFAULT_SCORE, None)
    assert plain.pictures_at_once == MAX_INPUT_PIXELS // (32 * 48)
    tiled = fitted(images, DEFAULT_SCORE, None, TILES)
    assert tiled.pictures_at_once == MAX_INPUT_PIXELS // (2 * 32 * 32)
    patches = fitted(images, DEFAULT_SCORE, *MAPS["PatchCutPaste"])
    assert patches.pictures_at_once == MAX_INPUT_PIXELS // (32 * 48 + 15 * 16 * 16)
    sizes = []
    hook = plain.network.backbone.register_forward_pre_hook(
        lambda _, given: sizes.append(given[0].shape[0])
    )
    expected = detect(plain, images)
    plain.image_size = (2048, 1024)
    found = detect(plain, images)
    hook.remove()
    assert sizes == [7, 2, 2, 2, 1]
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5)


def test_a_score_of_the_map_needs_a_map(images: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="set Localize"):
        fitted(images, {"name": "map_max"}, None)
