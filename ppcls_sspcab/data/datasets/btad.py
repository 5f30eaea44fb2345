"""BTAD, the beanTech anomaly detection data set (Mishra et al., ISIE 2021)."""

from __future__ import annotations

from typing import ClassVar

from ppcls_sspcab.data.datasets.mvtec import MVTecDataset
from ppcls_sspcab.registry import DATASETS


@DATASETS.register
class BTADDataset(MVTecDataset):
    """``<data_root>/{01, 02, 03}/{train/ok, test/{ok, ko}, ground_truth/ko}``.

    A mask has its picture's name, and may be bmp where the picture is png or the other way round.
    Arguments and errors are those of :class:`MVTecDataset`.
    """

    GOOD: ClassVar[str] = "ok"
    TRAIN: ClassVar[tuple[str, ...]] = ("train/ok",)
