"""The colour pictures of MVTec 3D-AD (Bergmann et al., VISAPP 2022)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from ppcls_sspcab.data.datasets.mvtec import MVTecDataset
from ppcls_sspcab.data.samples import folders_in, masks_in
from ppcls_sspcab.registry import DATASETS


@DATASETS.register
class MVTec3DDataset(MVTecDataset):
    """``<data_root>/<category>/{train, validation, test}/<kind>/rgb``, masks in ``gt`` beside it.

    The depth in ``xyz`` is not read. The good pictures of ``validation`` are further ones to train
    on: the threshold holds out pictures of its own. Arguments and errors are those of
    :class:`MVTecDataset`.
    """

    TRAIN: ClassVar[tuple[str, ...]] = ("train/good", "validation/good")
    PICTURES: ClassVar[str] = "rgb"

    def _masks(self, folder: Path) -> dict[str, dict[str, Path]]:
        test = folder / "test"
        kinds = folders_in(test, optional=True)
        return {k: masks_in(test / k / "gt") for k in kinds if (test / k / "gt").is_dir()}
