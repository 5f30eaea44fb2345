"""VisA, the visual anomaly data set (Zou et al., ECCV 2022), by its own split."""

from __future__ import annotations

from pathlib import Path

from ppcls_sspcab.data.datasets.csv_list import csv_records, listed_sample
from ppcls_sspcab.data.samples import Sample, folders_in, require_folder, require_good
from ppcls_sspcab.errors import DataError, did_you_mean
from ppcls_sspcab.registry import DATASETS

SPLIT = "split_csv/1cls.csv"
COLUMNS = ("object", "split", "label", "image", "mask")
LABELS = {"normal": 0, "anomaly": 1}


@DATASETS.register
class VisADataset:
    """``<data_root>/<category>/Data/{Images/{Normal, Anomaly}, Masks/Anomaly}``.

    ``<data_root>/split_csv/1cls.csv`` says which pictures are trained on and tested: columns
    ``object, split, label, image, mask``, paths relative to ``data_root``. A mask holds small
    numbers of the kinds of defects; every value above 0 marks. All bad pictures are of the kind
    "anomaly".

    Args:
        data_root: the folder of the categories and of ``split_csv``.
        category: the column ``object``.

    Raises:
        DataError: no split file, or a wrong row in it (with the line), a missing picture, an
            unknown category, fewer than 2 good pictures for training.
    """

    def __init__(self, data_root: str, category: str) -> None:
        root = Path(data_root)
        known: set[str] = set()
        samples = []
        for where, values in csv_records(_split_file(root), COLUMNS, COLUMNS):
            known.add(values["object"])
            if values["object"] == category:
                row = {**values, "path": values["image"]}
                samples.append(listed_sample(where, root, row, LABELS, bad="anomaly"))
        if not samples:
            raise DataError(f"no category {category!r} in {root}{did_you_mean(category, known)}")
        self.train: list[Sample] = [sample for sample in samples if sample.split == "train"]
        self.test: list[Sample] = [sample for sample in samples if sample.split == "test"]
        require_good(self.train, f"{root / SPLIT}, object {category!r}")

    @classmethod
    def categories(cls, data_root: str) -> list[str]:
        """Names in the column ``object``, sorted.

        Raises:
            DataError: no split file, or one without rows.
        """
        file = _split_file(Path(data_root))
        names = {values["object"] for _, values in csv_records(file, COLUMNS, COLUMNS)}
        if not names:
            raise DataError(f"{file} has no rows")
        return sorted(names)

    @classmethod
    def looks_like(cls, root: Path) -> bool:
        return (root / SPLIT).is_file()


def _split_file(root: Path) -> Path:
    require_folder(root)
    file = root / SPLIT
    if file.is_file():
        return file
    places = [root.absolute().parent, *(root / name for name in folders_in(root))]
    near = next((place for place in places if (place / SPLIT).is_file()), None)
    hint = f"set data_root to {near}" if near else "VisA's archive holds it beside its categories"
    raise DataError(f"{root} has no {SPLIT}: {hint}")
