"""``predict --save-maps``: three files for each picture."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ppcls_sspcab.image.drawing import FOUND, contour, overlay, sixteen_bit
from ppcls_sspcab.utils.files import atomic_path


class MapWriter:
    """Writes ``<name>_overlay.png``, ``<name>_contour.png`` and ``<name>_map.png``.

    Folders below the one that all pictures share are kept. Of pictures that differ in their
    suffix alone, the name keeps the suffix.

    Args:
        folder: where to.
        paths: all pictures that will be written.
    """

    def __init__(self, folder: str | os.PathLike[str], paths: Sequence[str]) -> None:
        self._folder = Path(folder)
        absolute = [Path(os.path.abspath(path)) for path in paths]
        base = Path(os.path.commonpath([path.parent for path in absolute])) if paths else Path()
        inside = [path.relative_to(base) for path in absolute]
        stems = Counter(path.with_suffix("") for path in set(inside))
        self._names = {
            path: short.with_suffix("") if stems[short.with_suffix("")] == 1 else short
            for path, short in zip(paths, inside, strict=True)
        }

    def write(self, path: str, pixels: np.ndarray, anomaly_map: np.ndarray) -> None:
        """Writes one picture's files.

        Args:
            path: one of ``paths``.
            pixels: uint8 RGB [H, W, 3].
            anomaly_map: float32 [H, W] in [0, 1], 0.5 at the pixel threshold.
        """
        pictures = {
            "overlay": Image.fromarray(overlay(pixels, anomaly_map)),
            "contour": Image.fromarray(contour(pixels, anomaly_map > 0.5, FOUND)),
            "map": sixteen_bit(anomaly_map),
        }
        name = self._names[path]
        for kind, picture in pictures.items():
            with atomic_path(self._folder / name.parent / f"{name.name}_{kind}.png") as temporary:
                picture.save(temporary, format="png")
