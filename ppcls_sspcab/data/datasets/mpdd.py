"""MPDD, the metal parts defect detection data set (Jezek et al., ICUMT 2021)."""

from __future__ import annotations

from pathlib import Path

from ppcls_sspcab.data.datasets.mvtec import MVTecDataset
from ppcls_sspcab.data.samples import folders_in
from ppcls_sspcab.errors import DataError, did_you_mean
from ppcls_sspcab.registry import DATASETS

CATEGORIES = (
    "bracket_black",
    "bracket_brown",
    "bracket_white",
    "connector",
    "metal_plate",
    "tubes",
)


@DATASETS.register
class MPDDDataset(MVTecDataset):
    """MVTec AD's layout with MPDD's six categories, every bad picture with a mask.

    Arguments are those of :class:`MVTecDataset`.

    Raises:
        DataError: as :class:`MVTecDataset`, for another category, or for a bad picture without a
            mask.
    """

    def __init__(self, data_root: str, category: str) -> None:
        if category not in CATEGORIES:
            raise DataError(
                f"MPDD has no category {category!r}{did_you_mean(category, CATEGORIES)}"
            )
        super().__init__(data_root, category)
        bare = [sample.path for sample in self.test if sample.label and sample.mask_path is None]
        if bare:
            raise DataError(
                f"{len(bare)} bad picture(s) of MPDD have no mask (first: {bare[0]}): the copy is "
                "not complete; MVTecDataset reads the same layout without them"
            )

    @classmethod
    def looks_like(cls, root: Path) -> bool:
        found = [name for name in folders_in(root) if MVTecDataset._is_category(root / name)]
        return bool(found) and set(found) <= set(CATEGORIES)

    @classmethod
    def _is_category(cls, folder: Path) -> bool:
        return folder.name in CATEGORIES and super()._is_category(folder)
