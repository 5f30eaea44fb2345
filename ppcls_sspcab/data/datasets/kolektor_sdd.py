"""KolektorSDD, cracks on electrical commutators (Tabernik et al., JIM 2020)."""

from __future__ import annotations

import re
from pathlib import Path

from ppcls_sspcab.data.samples import Sample, folders_in, good_samples, pictures_in, require_good
from ppcls_sspcab.errors import DataError
from ppcls_sspcab.image.decode import decode_mask
from ppcls_sspcab.registry import DATASETS

CATEGORY = "commutator"
LABEL = "_label"


@DATASETS.register
class KolektorSDDDataset:
    """``<data_root>/kosNN/{PartK.jpg, PartK_label.bmp}``: one item a folder, several pictures each.

    A picture whose label is black everywhere is good. The data set has no split for learning from
    good pictures only; this one goes by whole items, so that no item is seen in both: of the items
    in the order of their names every second one is tested, with all its pictures; of the others
    the good pictures are trained on, and their bad ones are not used. The kind of defect is
    "crack".

    Args:
        data_root: the folder of the items.
        category: ``commutator``, the only product.

    Raises:
        DataError: no items there, another category, a picture without its label, a label without
            its picture, fewer than 2 good pictures for training.
        ImageError: a label cannot be read.
    """

    def __init__(self, data_root: str, category: str) -> None:
        if category != CATEGORY:
            raise DataError(f"KolektorSDD has one category, {CATEGORY!r}, not {category!r}")
        root = Path(data_root)
        items = _items(root)
        self.train: list[Sample] = []
        self.test: list[Sample] = []
        for number, item in enumerate(items):
            tested = number % 2 == 1
            for picture, label in _labelled(root / item):
                bad = bool(decode_mask(label)[0].any())
                if tested and bad:
                    self.test.append(Sample(str(picture), 1, "crack", str(label), "test"))
                elif tested:
                    self.test += good_samples([picture], "test")
                elif not bad:
                    self.train += good_samples([picture], "train")
        require_good(self.train, str(root))

    @classmethod
    def categories(cls, data_root: str) -> list[str]:
        """The only product, ``commutator``. Raises DataError without items in ``data_root``."""
        _items(Path(data_root))
        return [CATEGORY]

    @classmethod
    def looks_like(cls, root: Path) -> bool:
        return any(_is_item(name) for name in folders_in(root))


def _is_item(name: str) -> bool:
    return re.fullmatch(r"kos\d+", name) is not None


def _items(root: Path) -> list[str]:
    items = [name for name in folders_in(root) if _is_item(name)]
    if items:
        return items
    parent = root.absolute().parent
    hint = "the items of KolektorSDD, kos01 to kos50, lie in it"
    if _is_item(root.absolute().name):
        hint = f"it is one item; set data_root to {parent}"
    for name in folders_in(root):
        if any(_is_item(item) for item in folders_in(root / name)):
            hint = f"the items lie in {root / name}; set data_root to it"
    raise DataError(f"no folder in {root} is called kos01 or the like: {hint}")


def _labelled(folder: Path) -> list[tuple[Path, Path]]:
    """Each picture of an item with its label."""
    found = pictures_in(folder, subfolders=False)
    labels = {path.stem: path for path in found if path.stem.endswith(LABEL)}
    pairs = []
    for picture in found:
        if picture.stem not in labels:
            if picture.stem + LABEL not in labels:
                raise DataError(f"{picture} has no label {picture.stem}{LABEL}.bmp beside it")
            pairs.append((picture, labels[picture.stem + LABEL]))
    lonely = set(labels.values()) - {label for _, label in pairs}
    if lonely:
        raise DataError(f"{min(lonely)} is the label of no picture in {folder}")
    return pairs
