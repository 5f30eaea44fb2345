"""A picture of a data set as plain values, and what all data sets check alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppcls_sspcab.errors import DataError, did_you_mean
from ppcls_sspcab.image.decode import EXTENSIONS

LEAST_GOOD = 2  # a covariance of one embedding says nothing


@dataclass(frozen=True)
class Sample:
    """One picture of a data set.

    Args:
        path: the picture's file.
        label: 0 good, 1 bad.
        defect: "good", or the kind of defect (the folder's name).
        mask_path: the file that marks the defect's pixels, if there is one.
        split: "train" or "test".
        further_masks: more files whose marked pixels add to those of ``mask_path``.
    """

    path: str
    label: int
    defect: str
    mask_path: str | None
    split: str
    further_masks: tuple[str, ...] = ()


def is_picture(path: Path) -> bool:
    """Whether the name is that of a picture: known extension in any case, and not hidden."""
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")


def pictures_in(folder: Path) -> list[Path]:
    """The pictures directly in a folder, sorted by name; a broken link counts, a folder does not.

    Raises:
        DataError: the folder is absent; near names are listed.
    """
    require_folder(folder)
    return sorted(path for path in folder.iterdir() if is_picture(path) and not path.is_dir())


def folders_in(folder: Path) -> list[str]:
    """Names of the subfolders that are not hidden, sorted.

    Raises:
        DataError: the folder is absent; near names are listed.
    """
    require_folder(folder)
    return sorted(
        path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def require_folder(folder: Path) -> None:
    """Does nothing if the folder exists.

    Raises:
        DataError: it does not; names the nearest existing parent and what is near in it.
    """
    if folder.is_dir():
        return
    if folder.exists():
        raise DataError(f"{folder} is a file, not a folder")
    parent, missing = folder.parent, folder.name
    while not parent.is_dir() and parent != parent.parent:
        parent, missing = parent.parent, parent.name
    beside = [path.name for path in parent.iterdir() if path.is_dir()]
    raise DataError(
        f"folder {folder} does not exist: {parent} has no folder {missing!r}"
        f"{did_you_mean(missing, beside)}"
    )


def require_good(train: Sequence[Sample], where: str) -> None:
    """Does nothing if there are enough good pictures to train and fit on.

    Raises:
        DataError: fewer than 2.
    """
    if len(train) < LEAST_GOOD:
        found = "no good pictures" if not train else "only one good picture"
        raise DataError(
            f"{found} for training in {where}: at least {LEAST_GOOD} are needed (hundreds are "
            f"better), as {', '.join(EXTENSIONS)}"
        )


def good_samples(paths: Iterable[Path], split: str) -> list[Sample]:
    """Good samples of one split."""
    return [Sample(str(path), 0, "good", None, split) for path in paths]


def bad_samples(
    paths: Iterable[Path], defect: str, masks: dict[str, Path], used: set[Path]
) -> list[Sample]:
    """Bad samples of the split "test", each with its mask (``name_mask`` or ``name``), if any.

    Args:
        paths: the pictures.
        defect: kind of defect.
        masks: masks by the stem of their names.
        used: takes up the masks that found a picture.
    """
    samples = []
    for path in paths:
        mask = masks.get(f"{path.stem}_mask") or masks.get(path.stem)
        if mask:
            used.add(mask)
        samples.append(Sample(str(path), 1, defect, str(mask) if mask else None, "test"))
    return samples


def require_paired(masks: Iterable[Path], used: set[Path], where: Path) -> None:
    """Does nothing if every mask found its picture.

    Raises:
        DataError: some did not; the first are named.
    """
    lonely = sorted(str(mask) for mask in masks if mask not in used)
    if lonely:
        raise DataError(
            f"{len(lonely)} mask(s) belong to no picture in {where}: {', '.join(lonely[:3])}"
            f"{', ...' if len(lonely) > 3 else ''}; a mask of 000.png is 000_mask.png or 000.png"
        )
