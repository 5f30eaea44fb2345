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
    """Writes the categories, names of ``PARTS``, below ``root``.

    Args:
        root: folder of the data set; what an earlier call wrote there is replaced.
        seed: from 0.
        size: height and width in pixels, at least 32.
        train, test: good pictures to train on and to test on, for each category.
        bad: pictures of each kind of defect.

    Raises:
        DataError: a number is out of range, a category is unknown, or ``root`` holds other files of
            these categories.
    """
    if size < 32 or min(train, test, bad, seed) < 0:
        raise DataError("the demo data need size >= 32 and no negative number")
    for category in categories:
        if category not in PARTS:
            raise DataError(f"no demo category {category!r}{did_you_mean(category, PARTS)}")
    folders: list[tuple[str, str | None, str, int]] = []
    for category in categories:
        folders += [(category, None, "train/good", train), (category, None, "test/good", test)]
        folders += [(category, kind, f"test/{kind}", bad) for kind in DEFECTS[category]]
    pictures = {
        Path(root) / category / folder / f"{index:03d}.png": (category, defect, (number, index))
        for number, (category, defect, folder, count) in enumerate(folders)
        for index in range(count)
    }
    masks = {path: _mask_of(path) for path, (_, defect, _) in pictures.items() if defect}
    _refuse_strangers(Path(root), categories, {*pictures, *masks.values()})
    for path, (category, defect, number) in pictures.items():
        image, mask = render(category, defect, (seed, *number), size)
        _save(path, image)
        if path in masks:
            _save(masks[path], mask.astype(np.uint8) * 255)


def _mask_of(path: Path) -> Path:
    return path.parents[2] / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"


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


def _refuse_strangers(root: Path, categories: Sequence[str], ours: set[Path]) -> None:
    """A picture left by a call with other counts would belong to no one's data set."""
    for category in categories:
        for path in sorted((root / category).rglob("*")):
            if not path.is_dir() and path not in ours:
                raise DataError(f"{root} holds other data ({path}): choose or empty a folder")


def _save(path: Path, pixels: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, "PNG")
