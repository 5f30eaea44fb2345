"""FeatureGaussian and PatchBank: where a defect shows, and the scores of the same distances."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.registry import IMAGE_SCORES, LOCALIZERS

SIZE = [64, 96]


class SmallNetwork(nn.Layer):
    """Three stages of stride 4, 8 and 16."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            ("first", nn.Conv2D(3, 6, 3, stride=4, padding=1)),
            ("second", nn.Conv2D(6, 8, 3, stride=2, padding=1)),
            ("third", nn.Conv2D(8, 10, 3, stride=2, padding=1)),
        )

    def embed(self, images: paddle.Tensor) -> paddle.Tensor:
        return self.backbone(images).mean(axis=[2, 3])


def maps(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Feature maps of pictures that differ from place to place."""
    rng = np.random.default_rng(seed)
    shapes = {"first": (6, 16, 24), "second": (8, 8, 12), "third": (10, 4, 6)}
    return {
        f"backbone.{name}": (
            np.random.default_rng(9).normal(size=shape) + 0.1 * rng.normal(size=(count, *shape))
        ).astype(np.float32)
        for name, shape in shapes.items()
    }


def tensors(features: dict[str, np.ndarray]) -> dict[str, paddle.Tensor]:
    return {name: paddle.to_tensor(value) for name, value in features.items()}


SECTIONS = [
    {"name": "FeatureGaussian", "channels": 8},
    {"name": "PatchBank", "channels": 8, "position": 1.0, "layers": ["first", "second"]},
]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section["name"])
def test_the_map_peaks_on_the_defect(section: dict[str, object]) -> None:
    paddle.seed(0)
    localizer = LOCALIZERS.build(section, "Localize", network=SmallNetwork(), image_size=SIZE)
    localizer.fit_batches([localizer.cells(tensors(maps(10))).numpy()])
    new = maps(3, seed=5)
    new["backbone.second"][:, :, 2, 8] += 3.0  # rows 16 to 24, columns 64 to 72
    found = localizer(localizer.cells(tensors(new))).numpy()
    assert found.shape == (3, *SIZE)
    for picture in found:
        row, column = np.unravel_index(picture.argmax(), picture.shape)
        assert 12 <= row <= 28
        assert 60 <= column <= 76


def test_layers_are_found_by_their_strides() -> None:
    network = SmallNetwork()
    known = {"network": network, "image_size": SIZE}
    shallow = LOCALIZERS.build({"name": "FeatureGaussian"}, "Localize", **known)
    deep = LOCALIZERS.build({"name": "PatchBank", "channels": 4}, "Localize", **known)
    score = IMAGE_SCORES.build({"name": "place_gaussian"}, "Score", **known)
    assert shallow.needs == ("backbone.first", "backbone.second")
    assert deep.needs == score.needs == ("backbone.second", "backbone.third")
    with pytest.raises(ConfigError, match=r"channels must lie in 1\.\.14"):
        LOCALIZERS.build({"name": "FeatureGaussian", "channels": 25}, "Localize", **known)
    with pytest.raises(ConfigError, match=r"no layer 'frist'.*'first'"):
        LOCALIZERS.build({"name": "FeatureGaussian", "layers": ["frist"]}, "Localize", **known)
    with pytest.raises(ConfigError, match="smoothing"):
        LOCALIZERS.build({"name": "FeatureGaussian", "smoothing": 1.0}, "Localize", **known)


@pytest.mark.parametrize(
    ("score", "localize"), [("place_gaussian", "FeatureGaussian"), ("patch_bank", "PatchBank")]
)
@pytest.mark.parametrize("top", [1, 3, 10_000])
def test_a_score_is_the_mean_of_the_largest_of_the_maps_distances(
    score: str, localize: str, top: int
) -> None:
    paddle.seed(0)
    known = {"network": SmallNetwork(), "image_size": SIZE}
    same = {"layers": ["second"], "channels": 8, "surround": 0.25}
    if score == "place_gaussian":
        same["shrinkage"] = 0.3
    made = IMAGE_SCORES.build({"name": score, "top": top, **same}, "Score", **known)
    localizer = LOCALIZERS.build({"name": localize, **same}, "Localize", **known)
    good, new = maps(10), tensors(maps(3, seed=5))
    made.fit_batches([good])
    localizer.fit_batches([localizer.cells(tensors(good)).numpy()])
    distances = localizer.surround(localizer.distances(localizer.cells(new))).numpy()
    largest = np.sort(distances.reshape(3, -1))[:, -top:]
    np.testing.assert_allclose(made(new, None).numpy(), largest.mean(axis=1), rtol=1e-4)
