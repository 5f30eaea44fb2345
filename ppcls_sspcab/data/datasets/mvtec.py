"""Folders in the layout of MVTec AD (Bergmann et al., CVPR 2019), and those that vary it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from ppcls_sspcab.data.samples import (
    Sample,
    bad_samples,
    folders_in,
    good_samples,
    masks_in,
    pictures_in,
    require_folder,
    require_good,
    require_paired,
    tell_left_out,
)
from ppcls_sspcab.errors import DataError, did_you_mean
from ppcls_sspcab.registry import DATASETS


@DATASETS.register
class MVTecDataset:
    """``<data_root>/<category>/{train/good, test/<defect>, ground_truth/<defect>}``.

    ``test`` and ``ground_truth`` may be absent; the mask of ``test/<defect>/000.png`` is
    ``ground_truth/<defect>/000_mask.png`` or ``000.png``, in any picture format.

    Args:
        data_root: the folder of the categories.
        category: one of them, by any name.

    Raises:
        DataError: a missing folder (near names are listed), a ``data_root`` that is one category
            or lies above the categories, fewer than 2 good pictures for training, or masks that
            belong to no picture.
    """

    GOOD: ClassVar[str] = "good"  # the folder of good pictures
    TRAIN: ClassVar[tuple[str, ...]] = ("train/good",)
    PICTURES: ClassVar[str] = "."  # inside the folder of a kind, where its pictures lie

    def __init__(self, data_root: str, category: str) -> None:
        root = Path(data_root)
        folder = root / category
        require_folder(root)
        if not folder.is_dir():
            near = did_you_mean(category, folders_in(root))
            raise DataError(f"no category {category!r} in {root}{self._misplaced(root) or near}")
        self.train: list[Sample] = []
        for name in self.TRAIN:
            self.train += good_samples(pictures_in(folder / name / self.PICTURES), "train")
        require_good(self.train, str(folder / self.TRAIN[0]))
        tell_left_out(folder / "train", [self.GOOD])
        self.test: list[Sample] = self._test_samples(folder)

    @classmethod
    def categories(cls, data_root: str) -> list[str]:
        """Folders in ``data_root`` with good pictures to train on. DataError if there is none."""
        root = Path(data_root)
        names = [name for name in folders_in(root) if cls._is_category(root / name)]
        if not names:
            raise DataError(f"no folder in {root} holds a {cls.TRAIN[0]}{cls._misplaced(root)}")
        return names

    @classmethod
    def looks_like(cls, root: Path) -> bool:
        return any(cls._is_category(root / name) for name in folders_in(root))

    @classmethod
    def _is_category(cls, folder: Path) -> bool:
        return all((folder / name / cls.PICTURES).is_dir() for name in cls.TRAIN)

    @classmethod
    def _misplaced(cls, root: Path) -> str:
        """What to do about a root that is one category, or lies above the folder of them."""
        if cls._is_category(root):
            root = root.absolute()
            return (
                f": it is itself a category; set data_root to {root.parent} and category to "
                f"{root.name!r}"
            )
        for name in folders_in(root):
            with suppress(OSError):  # a folder that may not be listed is none of ours
                if cls.looks_like(root / name):
                    return f": the categories lie in {root / name}; set data_root to it"
        return ""

    def _test_samples(self, folder: Path) -> list[Sample]:
        test = folder / "test"
        masks = {name: found for name, found in self._masks(folder).items() if name != self.GOOD}
        used: set[Path] = set()
        samples: list[Sample] = []
        defects = folders_in(test, optional=True)
        tell_left_out(test, defects)
        for defect in defects:
            place = test / defect / self.PICTURES
            pictures = pictures_in(place)
            if defect == self.GOOD:
                samples += good_samples(pictures, "test")
            else:
                samples += bad_samples(place, pictures, defect, masks.get(defect, {}), used)
        require_paired((path for group in masks.values() for path in group.values()), used, test)
        return samples

    def _masks(self, folder: Path) -> dict[str, dict[str, Path]]:
        """Masks of a category by defect and by the stem of their name."""
        truth = folder / "ground_truth"
        return {defect: masks_in(truth / defect) for defect in folders_in(truth, optional=True)}
