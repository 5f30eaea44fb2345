"""Pictures listed in CSV files."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ppcls_sspcab.data.samples import Sample, require_folder, require_good
from ppcls_sspcab.data.split import held_out, split_note
from ppcls_sspcab.errors import DataError, did_you_mean
from ppcls_sspcab.registry import DATASETS

COLUMNS = ("path", "label", "defect", "mask", "split", "category")
LABELS = {"0": 0, "good": 0, "1": 1, "bad": 1}


@dataclass(frozen=True)
class _Row:
    category: str
    sample: Sample  # split is "" where the file has no such column


@DATASETS.register
class ListDataset:
    """One or several CSV files (UTF-8, comma separated, with a header).

    Columns: ``path`` and ``mask`` (relative to the CSV's folder; mask may be empty), ``label``
    (0 or good, 1 or bad), ``defect`` (optional kind of defect), ``split`` (train or test),
    ``category`` (optional; else the file's name without ``.csv``). Without a column ``split`` bad
    pictures are tested and ``test_share`` of the good ones, evenly spread over their order; then
    ``split_note`` says how many.

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
        samples = [row.sample for row in rows if row.category == category]
        if not samples:
            known = {row.category for row in rows}
            raise DataError(
                f"no category {category!r} in {data_root}{did_you_mean(category, known)}"
            )
        self.split_note: str | None = None
        if any(sample.split == "" for sample in samples):
            samples = _split(samples, test_share)
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
        return sorted({row.category for row in _rows(Path(data_root))})

    @classmethod
    def looks_like(cls, root: Path) -> bool:
        """Whether ``root`` is a CSV file, or a folder with one in it."""
        return root.suffix.lower() == ".csv" or any(root.glob("*.[cC][sS][vV]"))


def _rows(root: Path) -> list[_Row]:
    if root.is_file():
        files = [root]
    else:
        require_folder(root)
        files = sorted(path for path in root.iterdir() if path.suffix.lower() == ".csv")
    rows = [
        _row(file, where, values)
        for file in files
        for where, values in csv_records(file, ("path", "label"), COLUMNS)
    ]
    if not rows:
        raise DataError(f"no CSV file with rows in {root}")
    lines: set[tuple[str, str]] = set()
    for row in rows:
        if (row.category, row.sample.path) in lines:
            raise DataError(f"{row.sample.path} is listed twice in category {row.category!r}")
        lines.add((row.category, row.sample.path))
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


def require_fit(where: str, sample: Sample) -> None:
    """Does nothing if a listed sample's label, split and mask go together and its files exist.

    Raises:
        DataError: a bad picture in train, a mask of a good one, or a missing file.
    """
    if sample.label == 1 and sample.split == "train":
        raise DataError(f"{where}: a bad picture cannot be in train, only good ones are learnt")
    if sample.label == 0 and sample.mask_path:
        raise DataError(f"{where}: a good picture has no mask")
    for path in filter(None, (sample.path, sample.mask_path)):
        if not Path(path).is_file():
            raise DataError(f"{where}: {path} does not exist")


def _row(file: Path, where: str, values: dict[str, str]) -> _Row:
    label = LABELS.get(values["label"].lower())
    if label is None:
        raise DataError(f"{where}: label must be 0, 1, good or bad, not {values['label']!r}")
    split = values.get("split", "").lower()
    if "split" in values and split not in ("train", "test"):
        raise DataError(f"{where}: split must be train or test, not {values['split']!r}")
    mask = values.get("mask", "")
    defect = values.get("defect") or "bad"
    sample = Sample(
        path=str(file.parent / (values["path"] or "(empty path)")),
        label=label,
        defect=defect if label else "good",
        mask_path=str(file.parent / mask) if mask else None,
        split=split,
    )
    require_fit(where, sample)
    return _Row(values.get("category") or file.stem, sample)


def _split(samples: list[Sample], test_share: float) -> list[Sample]:
    marks = iter(held_out(sum(sample.label == 0 for sample in samples), test_share))
    return [
        replace(sample, split="test" if sample.label == 1 or next(marks) else "train")
        for sample in samples
    ]
