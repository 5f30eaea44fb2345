"""Transforms in the shape that PaddleClas's datasets call them; PaddleClas itself is not needed."""

from pathlib import Path

import numpy as np
import pytest

from ppcls_sspcab.data.datasets.mvtec import MVTecDataset
from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.integrations.paddleclas.data import dataset_named, transform_named


def test_a_patch_of_another_picture_comes_from_the_batch() -> None:
    cutpaste = transform_named("CutPaste")(
        variant="normal", source="other", jitter=0.0, mean=[0.0] * 3, std=[1 / 255] * 3
    )
    batch = [(np.full((3, 32, 32), shade, np.uint8), 0) for shade in (10, 100, 200)]
    np.random.seed(0)
    samples = cutpaste(batch)
    assert [label for _, label in samples] == [0, 1] * 3
    for index, (image, _) in enumerate(batch):
        plain, pasted = samples[2 * index][0], samples[2 * index + 1][0]
        np.testing.assert_allclose(plain, image, atol=1e-3)
        (other,) = set(np.unique(np.rint(pasted))) - {image[0, 0, 0]}
        assert other in {10, 100, 200}
    np.random.seed(0)
    for first, second in zip(samples, cutpaste(batch), strict=True):
        np.testing.assert_array_equal(first[0], second[0])
    ((_, _), (pasted, _)) = cutpaste(batch[:1])
    np.testing.assert_allclose(pasted, batch[0][0], atol=1e-3)


@pytest.mark.parametrize("name", ["RandomTurn", "AdaptiveCutPaste"])
def test_a_transform_that_looks_at_the_good_pictures_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"transform_ops\.{name}: looks at the good"):
        transform_named(name)()


def test_our_datasets_show_their_pictures(demo_root: Path) -> None:
    category = MVTecDataset.categories(str(demo_root))[0]
    pasting = {"CutPaste": {"source": "other", "blend": "poisson", "on_part": True}}
    listed = dataset_named("MVTecDataset")(
        transform_ops=[{"RandomTurn": {"angles": "auto"}}, pasting],
        preprocess={"image_size": [32, 32]},
        data_root=str(demo_root),
        category=category,
    )
    views, labels = listed[3]
    assert views.shape == (3, 3, 32, 32) and labels.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(listed[3][0], views)
