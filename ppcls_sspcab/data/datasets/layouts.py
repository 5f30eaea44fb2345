"""The layouts that the project knows by itself, and which of them a folder has. No Paddle."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from ppcls_sspcab.data.datasets.btad import BTADDataset
from ppcls_sspcab.data.datasets.csv_list import ListDataset
from ppcls_sspcab.data.datasets.folder import FolderDataset
from ppcls_sspcab.data.datasets.kolektor_sdd import KolektorSDDDataset
from ppcls_sspcab.data.datasets.mpdd import MPDDDataset
from ppcls_sspcab.data.datasets.mvtec import MVTecDataset
from ppcls_sspcab.data.datasets.mvtec_3d import MVTec3DDataset
from ppcls_sspcab.data.datasets.mvtec_loco import MVTecLOCODataset
from ppcls_sspcab.data.datasets.visa import VisADataset
from ppcls_sspcab.data.samples import folders_in, require_folder
from ppcls_sspcab.errors import DataError

LAYOUTS: dict[str, Any] = {
    layout.__name__: layout
    for layout in (
        MVTecDataset,
        MVTecLOCODataset,
        MVTec3DDataset,
        VisADataset,
        BTADDataset,
        MPDDDataset,
        KolektorSDDDataset,
        FolderDataset,
        ListDataset,
    )
}


def layout_of(root: Path) -> Any:
    """The dataset class whose layout a folder (or a CSV file) has.

    A layout that refines another one, such as MPDD's that of MVTec AD, goes before it.

    Raises:
        DataError: none fits (the known ones are listed), or several do.
    """
    if root.is_file():
        return ListDataset
    require_folder(root)
    near = _elsewhere(root)
    fitting = _fitting(root)
    if near and fitting == [FolderDataset]:  # one category of another layout has folders "good" too
        fitting = []
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = " and ".join(layout.__name__ for layout in fitting)
        raise DataError(f"{root} looks like {names}: say which with --dataset")
    raise DataError(
        f"{root} has none of the known layouts ({', '.join(LAYOUTS)}){near}; name one with "
        "--dataset to be told what it misses, or see docs/datasets.md"
    )


def _fitting(root: Path) -> list[Any]:
    fitting = [layout for layout in LAYOUTS.values() if layout.looks_like(root)]
    return [one for one in fitting if not any(_refines(other, one, root) for other in fitting)]


def _refines(one: Any, other: Any, root: Path) -> bool:
    """Whether one layout says more than another about the same categories."""
    refines = one is not other and issubclass(one, other)
    return refines and one.categories(str(root)) == other.categories(str(root))


def _elsewhere(root: Path) -> str:
    """Where the folder lies that the user may have meant: one down, or one up."""
    root = root.absolute()
    loose = (FolderDataset, ListDataset)
    for place in (*(root / name for name in folders_in(root)), root.parent):
        with suppress(OSError):  # a folder that may not be listed is none of ours
            found = [layout for layout in _fitting(place) if layout not in loose]
            if found:
                return f", but {place} looks like {found[0].__name__}"
    return ""
