"""Any folder of good pictures, with or without bad ones."""

from __future__ import annotations

import os
from pathlib import Path

from ppcls_sspcab.data.samples import (
    Sample,
    bad_samples,
    folders_in,
    good_samples,
    masks_in,
    pictures_in,
    require_good,
    require_paired,
    tell_left_out,
)
from ppcls_sspcab.data.split import held_out, split_note
from ppcls_sspcab.errors import DataError
from ppcls_sspcab.registry import DATASETS

BAD = "bad"


@DATASETS.register
class FolderDataset:
    """A folder of good pictures is enough; all folders are relative to ``data_root/category``.

    Without ``test_good_dir`` a share of the good pictures, chosen by the hash of their names, is
    kept from training and tested (``split_note`` then says how many). Where neighbours show
    the same part, set ``test_good_dir``: else the test flatters.

    Args:
        data_root: the folder of the categories.
        category: a folder in it.
        good_dir: good pictures, also in its subfolders; "." if they lie in the category's folder
            itself, whose subfolders then do not count.
        bad_dir: bad pictures, one folder or several; default ``bad``, if it holds
            something. The pictures in it have its name as their kind of defect, those in its
            subfolders the subfolder's.
        mask_dir: masks, as ``<mask_dir>/<defect>/000_mask.png`` or ``<mask_dir>/000_mask.png``;
            the ``_mask`` may be absent.
        test_good_dir: good pictures to test on.
        test_share: share of the good pictures that are tested if no ``test_good_dir`` is set.

    Raises:
        DataError: a missing folder, fewer than 2 good pictures for training, a named folder
            without pictures, or masks that belong to no picture or to two.
        ValueError: ``test_share`` is not in 0..0.9.
    """

    def __init__(
        self,
        data_root: str,
        category: str,
        *,
        good_dir: str = "good",
        bad_dir: str | list[str] | None = None,
        mask_dir: str | None = None,
        test_good_dir: str | None = None,
        test_share: float = 0.2,
    ) -> None:
        if not 0 <= test_share <= 0.9:
            raise ValueError(f"test_share must lie in 0..0.9, not {test_share}")
        folder = Path(data_root) / category
        good = folder / good_dir
        if folder.is_dir() and not good.is_dir() and pictures_in(folder, False):
            raise DataError(
                f"{folder} has no folder {good_dir!r}, but pictures: set good_dir: '.' if they "
                f"are the good ones"
            )
        if bad_dir is None:
            bad_dir = BAD if any((folder / BAD).glob("*")) else []
        bad_dirs = [bad_dir] if isinstance(bad_dir, str) else bad_dir
        others = [name for name in (*bad_dirs, mask_dir, test_good_dir) if name]
        # In the category's folder itself nobody knows what a subfolder holds.
        apart = os.path.realpath(good) != os.path.realpath(folder)
        pictures = pictures_in(good, apart, [folder / name for name in others])
        if apart:
            tell_left_out(folder, [good_dir, *others])
        self.split_note: str | None = None
        if test_good_dir is None:
            names = [path.relative_to(good).as_posix() for path in pictures]
            marks = held_out(names, test_share)
            kept = [path for path, out in zip(pictures, marks, strict=True) if not out]
            tested = [path for path, out in zip(pictures, marks, strict=True) if out]
            self.split_note = split_note(len(kept), len(tested))
        else:
            kept, tested = pictures, pictures_in(folder / test_good_dir)
            _require_pictures(tested, folder / test_good_dir)
        self.train: list[Sample] = good_samples(kept, "train")
        require_good(self.train, str(good))
        bad = _bad_samples(
            [folder / name for name in bad_dirs], None if mask_dir is None else folder / mask_dir
        )
        self.test: list[Sample] = good_samples(tested, "test") + bad

    @classmethod
    def categories(cls, data_root: str) -> list[str]:
        """Names of the folders in ``data_root``. Raises DataError if there is none."""
        names = folders_in(Path(data_root))
        if not names:
            raise DataError(f"no folders in {data_root}: each category is a folder there")
        return names

    @classmethod
    def looks_like(cls, root: Path) -> bool:
        return any((root / name / "good").is_dir() for name in folders_in(root))


def _require_pictures(pictures: list[Path], folder: Path) -> None:
    if not pictures:
        raise DataError(f"no pictures in {folder}")


def _bad_samples(folders: list[Path], mask_folder: Path | None) -> list[Sample]:
    masks = _masks(mask_folder) if mask_folder else {}
    used: set[Path] = set()
    samples: list[Sample] = []
    for folder in folders:
        kinds = [folder / name for name in folders_in(folder)]
        groups = [(folder, pictures_in(folder, without=kinds))]
        groups += [(kind, pictures_in(kind)) for kind in kinds]
        _require_pictures([path for _, pictures in groups for path in pictures], folder)
        for place, pictures in groups:
            near = {**masks.get("", {}), **masks.get(place.name, {})}
            samples += bad_samples(place, pictures, place.name, near, used)
    if mask_folder:
        every = [path for group in masks.values() for path in group.values()]
        require_paired(every, used, mask_folder.parent)
        _require_own(samples)
    return samples


def _masks(folder: Path) -> dict[str, dict[str, Path]]:
    """Masks by subfolder ("" for the folder itself) and stem."""
    kinds = folders_in(folder)
    loose = masks_in(folder, without=[folder / name for name in kinds])
    return {"": loose} | {name: masks_in(folder / name) for name in kinds}


def _require_own(samples: list[Sample]) -> None:
    owner: dict[str, str] = {}
    for sample in samples:
        other = owner.setdefault(sample.mask_path or sample.path, sample.path)
        if other != sample.path:
            raise DataError(
                f"mask {sample.mask_path} fits both {other} and {sample.path}: put the masks of "
                f"each defect into a folder of its name"
            )
