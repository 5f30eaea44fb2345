"""MVTec LOCO AD: logical and structural anomalies (Bergmann et al., IJCV 2022)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from ppcls_sspcab.data.datasets.mvtec import MVTecDataset
from ppcls_sspcab.data.datasets.mvtec_3d import MVTec3DDataset
from ppcls_sspcab.data.samples import Sample, folders_in, pictures_in
from ppcls_sspcab.errors import DataError
from ppcls_sspcab.registry import DATASETS


@DATASETS.register
class MVTecLOCODataset(MVTecDataset):
    """``<data_root>/<category>/{train/good, validation/good, test/<kind>, ground_truth/<kind>}``.

    The kinds are ``logical_anomalies`` and ``structural_anomalies``. Each picture has a folder of
    masks, ``ground_truth/<kind>/000/{000.png, 001.png, ...}``, whose marked pixels are united: a
    mask's value tells the kind of defect, and every value above 0 marks. The benchmark's own
    saturated overlap is not computed. The good pictures of ``validation`` are further ones to
    train on: the threshold holds out pictures of its own. Arguments and errors are those of
    :class:`MVTecDataset`.
    """

    TRAIN: ClassVar[tuple[str, ...]] = ("train/good", "validation/good")

    @classmethod
    def _is_category(cls, folder: Path) -> bool:
        is_3d = (folder / cls.TRAIN[0] / MVTec3DDataset.PICTURES).is_dir()
        return super()._is_category(folder) and not is_3d

    def _test_samples(self, folder: Path) -> list[Sample]:
        samples = super()._test_samples(folder)
        for index, sample in enumerate(samples):
            if sample.mask_path:
                _, *further = pictures_in(Path(sample.mask_path).parent)
                samples[index] = replace(sample, further_masks=tuple(map(str, further)))
        return samples

    def _masks(self, folder: Path) -> dict[str, dict[str, Path]]:
        truth = folder / "ground_truth"
        masks: dict[str, dict[str, Path]] = {}
        for kind in folders_in(truth, optional=True):
            masks[kind] = {}
            for name in folders_in(truth / kind):
                found = pictures_in(truth / kind / name)
                if not found:
                    raise DataError(f"no masks in {truth / kind / name}: the copy is not complete")
                masks[kind][name] = found[0]
        return masks
