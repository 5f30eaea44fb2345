"""Pictures listed in CSV files."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ppcls_sspcab.data.samples import Sample, require_folder, require_good
from ppcls_sspcab.data.split import held_out, split_note
from ppcls_sspcab.errors import DataError, did_you_mean
from ppcls_sspcab.registry import DATASETS

COLUMNS = ("path", "label", "defect", "mask", "split", "category")
LABELS = {"0": 0, "1": 1, "good": 0, "bad": 1}


@DATASETS.register
class ListDataset:
    """One or several CSV files (UTF-8, comma separated, with a header).

    Columns: ``path`` and ``mask`` (relative to the CSV's folder; mask may be empty), ``label``
    (0 or good, 1 or bad), ``defect`` (optional kind of defect), ``split`` (train or test),
    ``category`` (optional; else the file's name without ``.csv``). Without a column ``split`` bad
    pictures are tested and ``test_share`` of the good ones, chosen by the hash of
    their paths; then ``split_note`` says how many.

    Args:
        data_root: a CSV file, or a folder of them.
        category: which rows.
        test_share: share of the good pictures that are tested if there is no column ``split``.

    Raises:
        DataError: no such file, column, category or picture (with the line), a bad picture in
            train, a mask of a good picture, a picture listed twice, fewer than 2 good pictures.
        ValueError: ``test_share`` is not in 0..0.9.
    """

    def __init__(self, data_root: str, category: str, test_share: float = 0.2) -> None:
        if not 0 <= test_share <= 0.9:
            raise ValueError(f"test_share must lie in 0..0.9, not {test_share}")
        rows = _rows(Path(data_root))
        samples = [sample for name, sample in rows if name == category]
        if not samples:
            near = did_you_mean(category, {name for name, _ in rows})
            raise DataError(f"no category {category!r} in {data_root}{near}")
        self.split_note: str | None = None
        if any(sample.split == "" for sample in samples):
            root = Path(data_root)
            folder = root.parent if root.is_file() else root
            names = [
                os.path.relpath(sample.path, folder) for sample in samples if sample.label == 0
            ]
            tested = iter(held_out(names, test_share))
            samples = [
                replace(sample, split="test" if sample.label or next(tested) else "train")
                for sample in samples
            ]
            good = [sample.split for sample in samples if sample.label == 0]
            self.split_note = split_note(good.count("train"), good.count("test"))
        self.train: list[Sample] = [sample for sample in samples if sample.split == "train"]
        self.test: list[Sample] = [sample for sample in samples if sample.split == "test"]
        require_good(self.train, f"{data_root}, category {category!r}")

    @classmethod
    def categories(cls, data_root: str) -> list[str]:
        """Names in the column ``category``, or of the files without it, sorted.

        Raises:
            DataError: as the constructor.
        """
        return sorted({name for name, _ in _rows(Path(data_root))})

    @classmethod
    def looks_like(cls, root: Path) -> bool:
        """Whether ``root`` is a CSV file, or a folder with one in it."""
        return root.suffix.lower() == ".csv" or any(root.glob("*.[cC][sS][vV]"))


def _rows(root: Path) -> list[tuple[str, Sample]]:
    """Category and sample of each row; the split is "" where a file has no such column."""
    if root.is_file():
        files = [root]
    else:
        require_folder(root)
        files = sorted(path for path in root.iterdir() if path.suffix.lower() == ".csv")
    rows = [
        (row.get("category") or file.stem, listed_sample(where, file.parent, row, LABELS))
        for file in files
        for where, row in csv_records(file, ("path", "label"), COLUMNS)
    ]
    if not rows:
        raise DataError(f"no CSV file with rows in {root}")
    for (category, path), times in Counter((name, sample.path) for name, sample in rows).items():
        if times > 1:
            raise DataError(f"{path} is listed twice in category {category!r}")
    return rows


def csv_records(
    file: Path, needed: Sequence[str], known: Sequence[str]
) -> Iterator[tuple[str, dict[str, str]]]:
    """Where each row of a CSV file stands ("FILE, line 3"), and its stripped values by column.

    Args:
        needed: columns that must be there.
        known: columns that may be there.

    Raises:
        DataError: no such file, no CSV, a missing or unknown column, a row of another length.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            columns = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = columns
            for name in needed:
                if name not in columns:
                    raise DataError(f"{file} has no column {name!r}{did_you_mean(name, columns)}")
            for name in columns:
                if name not in known:
                    raise DataError(f"{file}: unknown column {name!r}{did_you_mean(name, known)}")
            for record in reader:
                where = f"{file}, line {reader.line_num}"
                if None in record or None in record.values():
                    raise DataError(f"{where}: has not as many values as the header has columns")
                yield where, {name: value.strip() for name, value in record.items()}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} cannot be read as CSV ({error})") from error


def listed_sample(
    where: str, folder: Path, row: Mapping[str, str], labels: Mapping[str, int], bad: str = "bad"
) -> Sample:
    """The sample of a row with the columns ``path`` and ``label``.

    Columns ``split``, ``mask`` and ``defect`` may be absent.

    Args:
        where: the row's file and line, for errors.
        folder: paths are relative to it.
        labels: 0 or 1 for each word that may stand in the column ``label``.
        bad: kind of defect of a bad picture for which the row names none.

    Raises:
        DataError: another label or split, a bad picture in train, a mask of a good one, or a
            missing file.
    """
    label, split = labels.get(row["label"].lower()), row.get("split", "").lower()
    if label is None:
        *others, last = labels
        wanted = f"{', '.join(others)} or {last}"
        raise DataError(f"{where}: label must be {wanted}, not {row['label']!r}")
    if "split" in row and split not in ("train", "test"):
        raise DataError(f"{where}: split must be train or test, not {row['split']!r}")
    mask = row.get("mask")
    if label == 1 and split == "train":
        raise DataError(f"{where}: a bad picture cannot be in train, only good ones are learnt")
    if label == 0 and mask:
        raise DataError(f"{where}: a good picture has no mask")
    for path in filter(None, (row["path"] or "(empty path)", mask)):
        if not (folder / path).is_file():
            raise DataError(f"{where}: {folder / path} does not exist")
    return Sample(
        path=str(folder / row["path"]),
        label=label,
        defect=(row.get("defect") or bad) if label else "good",
        mask_path=str(folder / mask) if mask else None,
        split=split,
    )
