"""A picture of a data set as plain values, and what all data sets check alike."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppcls_sspcab.errors import DataError, did_you_mean
from ppcls_sspcab.image.decode import EXTENSIONS
from ppcls_sspcab.image.sources import is_hidden, pictures_below, search
from ppcls_sspcab.utils.logger import get_logger

LEAST_GOOD = 2  # a covariance of one embedding says nothing


@dataclass(frozen=True)
class Sample:
    """One picture of a data set.

    Attributes:
        label: 0 good, 1 bad.
        defect: "good", or the kind of defect (the folder's name).
        mask_path: the file that marks the defect's pixels, if there is one.
        split: "train" or "test".
        further_masks: more files whose marked pixels add to those of ``mask_path``.
        content: of the file, as :func:`ppcls_sspcab.image.content.contents_of` gives it; "" until
            it was asked for.
    """

    path: str
    label: int
    defect: str
    mask_path: str | None
    split: str
    further_masks: tuple[str, ...] = ()
    content: str = ""


def pictures_in(
    folder: Path, subfolders: bool = True, without: Collection[Path] = ()
) -> list[Path]:
    """The pictures in a folder, see :func:`ppcls_sspcab.image.sources.pictures_below`.

    Raises DataError as :func:`require_folder`.
    """
    require_folder(folder)
    return pictures_below(folder, subfolders, without)


def masks_in(folder: Path, without: Collection[Path] = ()) -> dict[str, Path]:
    """The pictures of :func:`pictures_in` by their path below the folder, without suffix."""
    return {_key(path, folder): path for path in pictures_in(folder, without=without)}


def tell_left_out(folder: Path, taken: Iterable[str]) -> None:
    """Counts in the log the pictures of a folder that lie in none of the subfolders ``taken``."""
    places = [folder / name for name in taken]
    others = search(folder, True, places)[0] if folder.is_dir() else []
    if others:
        where = ", ".join(str(place) for place in places) or "a subfolder"
        get_logger().warning(
            f"{folder}: {len(others)} pictures are left out, as they lie in none of {where}; the "
            f"first: {others[0]}"
        )


def _key(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def folders_in(folder: Path, optional: bool = False) -> list[str]:
    """Names of the subfolders, sorted; hidden ones are left out.

    Raises DataError as :func:`require_folder`, unless the folder is ``optional``.
    """
    if optional and not folder.is_dir():
        return []
    return [path.name for path in _visible(folder) if path.is_dir()]


def _visible(folder: Path) -> list[Path]:
    require_folder(folder)
    return sorted(path for path in folder.iterdir() if not is_hidden(path.name))


def require_folder(folder: Path) -> None:
    """Raises DataError unless the folder exists; names its nearest parent and a near name in it."""
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
    """Raises DataError for fewer than 2 good pictures to train on."""
    if len(train) < LEAST_GOOD:
        found = "no good pictures" if not train else "only one good picture"
        raise DataError(
            f"{found} for training in {where}: at least {LEAST_GOOD} are needed (hundreds are "
            f"better), as {', '.join(EXTENSIONS)}"
        )


def good_samples(paths: Iterable[Path], split: str) -> list[Sample]:
    return [Sample(str(path), 0, "good", None, split) for path in paths]


def bad_samples(
    folder: Path, paths: Iterable[Path], defect: str, masks: dict[str, Path], used: set[Path]
) -> list[Sample]:
    """Bad samples of the split "test", each with its mask (``name_mask`` or ``name``), if any.

    Args:
        folder: of the defect; its subfolders are those of the masks, too.
        masks: as :func:`masks_in` returns them.
        used: takes up the masks that found a picture.
    """
    samples = []
    for path in paths:
        name = _key(path, folder)
        mask = masks.get(f"{name}_mask") or masks.get(name)
        if mask:
            used.add(mask)
        samples.append(Sample(str(path), 1, defect, str(mask) if mask else None, "test"))
    return samples


def require_paired(masks: Iterable[Path], used: set[Path], where: Path) -> None:
    """Raises DataError, which names the first of them, for masks that found no picture."""
    lonely = sorted(str(mask) for mask in masks if mask not in used)
    if lonely:
        raise DataError(
            f"{len(lonely)} mask(s) belong to no picture in {where}: {', '.join(lonely[:3])}"
            f"{', ...' if len(lonely) > 3 else ''}; a mask of 000.png is 000_mask.png or 000.png"
        )
