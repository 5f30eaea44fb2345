"""Folders in the layout of MVTec AD (Bergmann et al., CVPR 2019)."""

from __future__ import annotations

from pathlib import Path

from ppcls_sspcab.data.samples import (
    Sample,
    bad_samples,
    folders_in,
    good_samples,
    pictures_in,
    require_folder,
    require_good,
    require_paired,
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
        DataError: a missing folder (near names are listed), fewer than 2 good pictures for
            training, or masks that belong to no picture.
    """

    def __init__(self, data_root: str, category: str) -> None:
        root = Path(data_root)
        folder = root / category
        require_folder(root)
        if not folder.is_dir():
            raise DataError(
                f"no category {category!r} in {root}{did_you_mean(category, folders_in(root))}"
            )
        good = folder / "train" / "good"
        self.train: list[Sample] = good_samples(pictures_in(good), "train")
        require_good(self.train, str(good))
        self.test: list[Sample] = _test_samples(folder)

    @classmethod
    def categories(cls, data_root: str) -> list[str]:
        """Names of the folders in ``data_root`` that hold a ``train/good``.

        Raises:
            DataError: there is none.
        """
        root = Path(data_root)
        names = [name for name in folders_in(root) if (root / name / "train" / "good").is_dir()]
        if not names:
            raise DataError(f"no folder in {root} holds a train/good")
        return names


def _test_samples(folder: Path) -> list[Sample]:
    test, truth = folder / "test", folder / "ground_truth"
    masks: dict[str, dict[str, Path]] = {}
    if truth.is_dir():
        for defect in folders_in(truth):
            if defect != "good":
                masks[defect] = {path.stem: path for path in pictures_in(truth / defect)}
    used: set[Path] = set()
    samples: list[Sample] = []
    for defect in folders_in(test) if test.is_dir() else []:
        pictures = pictures_in(test / defect)
        if defect == "good":
            samples += good_samples(pictures, "test")
        else:
            samples += bad_samples(pictures, defect, masks.get(defect, {}), used)
    require_paired((path for group in masks.values() for path in group.values()), used, test)
    return samples
