"""``--save-maps``: three files for each picture, of the picture's own size."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image

from ppcls_sspcab.errors import UserError
from ppcls_sspcab.image.decode import White, decode
from ppcls_sspcab.image.drawing import FOUND, contour, overlay, sixteen_bit
from ppcls_sspcab.utils.files import atomic_path

KINDS = ("overlay", "contour", "map")
LONGEST = 255 - len("_overlay.png")  # bytes of a name that leave room for its ending


class MapWriter:
    """Writes ``<name>_overlay.png``, ``<name>_contour.png`` and ``<name>_map.png``.

    Folders below the one that all pictures share are kept. Where pictures differ in their suffix
    or in small and capital letters alone, the name keeps the suffix or gets a number; a name that
    would be too long is cut and ends in a part of its hash.

    Args:
        folder: where to.
        paths: all pictures that will be written.
        white: of the preprocessing contract.

    Raises:
        UserError: a map would replace one of the pictures.
    """

    def __init__(
        self, folder: str | os.PathLike[str], paths: Sequence[str], white: White = "full"
    ) -> None:
        self._folder = Path(folder)
        self._white = white
        absolute = [Path(os.path.abspath(path)) for path in paths]
        base = Path(os.path.commonpath([path.parent for path in absolute])) if paths else Path()
        inside = [path.relative_to(base) for path in absolute]
        names = _unique(sorted(set(inside)))
        self._names = {path: names[short] for path, short in zip(paths, inside, strict=True)}
        self._require_no_picture(absolute)

    def write(self, path: str, anomaly_map: np.ndarray) -> None:
        """Writes one picture's files.

        Args:
            path: one of ``paths``.
            anomaly_map: float32 [h, w] in [0, 1] at the network's size, 0.5 at the pixel
                threshold; it is brought to the picture's size, bilinearly.

        Raises:
            ImageError: the picture cannot be read any more.
        """
        pixels = decode(path, self._white)
        height, width = pixels.shape[:2]
        small = Image.fromarray(anomaly_map.astype(np.float32))
        values = np.asarray(small.resize((width, height), Image.Resampling.BILINEAR)).clip(0, 1)
        pictures = {
            "overlay": Image.fromarray(overlay(pixels, values)),
            "contour": Image.fromarray(contour(pixels, values > 0.5, FOUND)),
            "map": sixteen_bit(values),
        }
        for kind, picture in pictures.items():
            with atomic_path(self._target(path, kind)) as temporary:
                picture.save(temporary, format="png")

    def _target(self, path: str, kind: str) -> Path:
        name = self._names[path]
        return self._folder / name.parent / f"{name.name}_{kind}.png"

    def _require_no_picture(self, absolute: Iterable[Path]) -> None:
        pictures = {os.path.realpath(path) for path in absolute}
        for path in self._names:
            for kind in KINDS:
                target = self._target(path, kind)
                if os.path.realpath(target) in pictures:
                    raise UserError(
                        f"--save-maps {self._folder}: {target} is one of the pictures, and the map "
                        f"of {path} would replace it: choose another folder"
                    )


def _unique(pictures: Sequence[Path]) -> dict[Path, Path]:
    """A name for each path, without suffix where that tells it from the others."""
    stems = Counter(_folded(path.with_suffix("")) for path in pictures)
    taken: set[str] = set()
    names = {}
    for path in pictures:
        alone = stems[_folded(path.with_suffix(""))] == 1
        names[path] = next(name for name in _candidates(path, alone) if _folded(name) not in taken)
        taken.add(_folded(names[path]))
    return names


def _candidates(path: Path, alone: bool) -> Iterator[Path]:
    if alone:
        yield _short(path.with_suffix(""))
    yield _short(path)
    for number in count(2):
        yield _short(path.with_name(f"{path.name}_{number}"))


def _folded(path: Path) -> str:
    return str(path).casefold()


def _short(path: Path) -> Path:
    encoded = os.fsencode(path.name)
    if len(encoded) <= LONGEST:
        return path
    mark = "~" + hashlib.sha256(encoded).hexdigest()[:8]
    return path.with_name(encoded[: LONGEST - len(mark)].decode("utf-8", "ignore") + mark)
