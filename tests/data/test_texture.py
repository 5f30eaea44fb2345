"""Textures and parts told apart, and CutPaste that does as the pictures ask."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppcls_sspcab.data.generated import render
from ppcls_sspcab.data.texture import TEXTURE, evenness
from ppcls_sspcab.data.transforms.adaptive_cutpaste import SMALL_PATCHES, AdaptiveCutPaste
from ppcls_sspcab.data.transforms.cutpaste import CutPaste
from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.registry import TRANSFORMS

SHARED = Path(__file__).resolve().parents[3] / "shared"


def generated(part: str, count: int = 8, side: int = 64) -> list[np.ndarray]:
    return [render(part, None, (0, index), side)[0] for index in range(count)]


@pytest.mark.parametrize("part, texture", [("screw", False), ("gasket", False), ("mesh", True)])
@pytest.mark.parametrize("side", [64, 200])
def test_generated_pictures(part, texture, side):
    assert (evenness(generated(part, 8, side)) >= TEXTURE) == texture


@pytest.mark.parametrize(
    "folder, texture",
    [
        ("mvtec_bottle_256/bottle", False),
        ("mvtec_grid_256/grid", True),
        ("mvtec3d_tire_256/tire", False),
    ],
)
def test_real_pictures(folder, texture):
    paths = sorted((SHARED / "data" / folder / "train" / "good").glob("*.png"))[:16]
    if not paths:
        pytest.skip(f"shared/data/{folder} is not here")
    images = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    assert (evenness(images) >= TEXTURE) == texture


def test_noise_fills_a_picture_and_a_plain_one_has_nothing():
    noise = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    assert evenness([noise]) > 0.8
    half = noise.copy()
    half[:, :35] = 7
    assert evenness([half]) == pytest.approx(0, abs=1e-9)
    assert evenness([np.full((40, 60, 3), 7, np.uint8)]) == 0
    assert evenness([noise] * 3 + [half] * 2) > 0.8  # the median


@pytest.mark.parametrize("part, same_as", [("mesh", {}), ("gasket", SMALL_PATCHES)])
def test_it_pastes_as_the_pictures_ask(part, same_as):
    images = generated(part)
    adaptive, plain = AdaptiveCutPaste("3way"), CutPaste("3way", **same_as)
    with pytest.raises(ValueError, match="must see good pictures"):
        adaptive.draw(np.random.default_rng(0), 64, 64)
    adaptive.prepare(images)
    assert (adaptive.wants_other, adaptive.labels) == (plain.wants_other, plain.labels)
    drawn = [one.draw(np.random.default_rng(3), 64, 64) for one in (adaptive, plain)]
    assert drawn[0] == drawn[1]
    other = [images[1]] if plain.wants_other else []
    views = [one.apply(images[0], drawn[0], *other) for one in (adaptive, plain)]
    np.testing.assert_array_equal(*views)


def test_arguments_of_its_own():
    section = {"name": "AdaptiveCutPaste", "variant": "union", "texture": {"blend": "feather"}}
    made = TRANSFORMS.build(section, "op")
    made.prepare(generated("mesh"))
    assert made.class_num == 2
    drawn = made.draw(np.random.default_rng(0), 64, 64)
    expected = CutPaste("union", blend="feather").apply(generated("mesh")[0], drawn)
    np.testing.assert_array_equal(made.apply(generated("mesh")[0], drawn), expected)
    for wrong, said in (
        ({"texture": {"blnd": "hard"}}, r"texture\.blnd.*blend"),
        ({"part": {"blend": "soft"}}, r"part\.blend: must be 'hard', 'feather' or 'poisson'"),
        ({"part": {"variant": "scar"}}, r"part\.variant"),
    ):
        with pytest.raises(ConfigError, match=said):
            TRANSFORMS.build({"name": "AdaptiveCutPaste", **wrong}, "op")
