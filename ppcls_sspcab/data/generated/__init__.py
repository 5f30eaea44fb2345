"""A procedural data set in MVTec layout: an object (``gasket``), a texture (``mesh``), and, where
it is asked for, an object at any angle with small defects (``screw``).

``ppcls-sspcab data generate --output DIR --seed 0`` writes it. The same seed gives the
same pictures; a mask holds exactly the pixels that the defect changes. A part is a module with
``DEFECTS`` and ``draw``, named in ``PARTS``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ppcls_sspcab.data.generated import gasket, mesh, screw
from ppcls_sspcab.data.generated.canvas import exposed
from ppcls_sspcab.errors import DataError, did_you_mean
from ppcls_sspcab.utils.files import atomic_path

PARTS = {"gasket": gasket, "mesh": mesh, "screw": screw}
DEFECTS = {category: part.DEFECTS for category, part in PARTS.items()}
CATEGORIES = ("gasket", "mesh")  # of the demo: the others take longer to learn


def generate_demo(
    root: str | Path,
    seed: int = 0,
    *,
    size: int = 128,
    train: int = 60,
    test: int = 15,
    bad: int = 8,
    categories: Sequence[str] = CATEGORIES,
) -> None:
    """Writes the categories below ``root``.

    Args:
        root: folder of the data set; what an earlier call wrote there is replaced.
        seed: from 0.
        size: height and width in pixels, at least 32.
        train: good pictures to train on, for each category.
        test: good pictures to test on.
        bad: pictures of each kind of defect.
        categories: names of ``PARTS``.

    Raises:
        DataError: a number is out of range, a category is unknown, or ``root`` holds other files of
            these categories.
    """
    if size < 32 or min(train, test, bad, seed) < 0:
        raise DataError("the demo data need size >= 32 and no negative number")
    for category in categories:
        if category not in PARTS:
            raise DataError(f"no demo category {category!r}{did_you_mean(category, PARTS)}")
    splits: list[tuple[str, str | None, int]] = []
    for category in categories:
        splits += [(f"{category}/train/good", None, train), (f"{category}/test/good", None, test)]
        splits += [(f"{category}/test/{defect}", defect, bad) for defect in DEFECTS[category]]
    _refuse_strangers(Path(root), categories, splits)
    for number, (folder, defect, count) in enumerate(splits):
        category, _, kind = folder.split("/")
        for index in range(count):
            image, mask = render(category, defect, (seed, number, index), size)
            _save(Path(root) / folder / f"{index:03d}.png", image)
            if defect is not None:
                truth = Path(root) / category / "ground_truth" / kind / f"{index:03d}_mask.png"
                _save(truth, mask.astype(np.uint8) * 255)


def render(
    category: str, defect: str | None, seed: Sequence[int], size: int
) -> tuple[np.ndarray, np.ndarray]:
    """One picture.

    Args:
        category: one of ``PARTS``.
        defect: one of ``DEFECTS[category]``; with None the same part without it.
        seed: whole numbers from 0; decides everything else.
        size: height and width in pixels.

    Returns:
        uint8 RGB [size, size, 3], and bool [size, size], the pixels that the defect changes.
    """
    draw = PARTS[category].draw

    def picture(kind: str | None) -> np.ndarray:
        # The defect has a generator of its own, so that all else stays as without it.
        drawn = draw(_rng(seed, 0), size, kind, _rng(seed, 1))
        return exposed(drawn, _rng(seed, 2))

    good = picture(None)
    if defect is None:
        return good, np.zeros((size, size), bool)
    bad = picture(defect)
    return bad, (bad != good).any(axis=2)


def _rng(seed: Sequence[int], purpose: int) -> np.random.Generator:
    return np.random.default_rng([*seed, purpose])


def _refuse_strangers(
    root: Path, categories: Sequence[str], splits: list[tuple[str, str | None, int]]
) -> None:
    """A picture left by a call with other counts would belong to no one's data set."""
    ours = set()
    for folder, defect, count in splits:
        category, _, kind = folder.split("/")
        for index in range(count):
            ours.add(root / folder / f"{index:03d}.png")
            if defect is not None:
                ours.add(root / category / "ground_truth" / kind / f"{index:03d}_mask.png")
    for category in categories:
        for path in sorted((root / category).rglob("*")):
            if not path.is_dir() and path not in ours:
                raise DataError(f"{root} holds other data ({path}): choose or empty a folder")


def _save(path: Path, pixels: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, "PNG")
