"""Where a picture has detail: the part on a plain ground, everywhere in a texture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

_AROUND = 0.05  # of the shorter side: how far from the detail itself a place lies


@dataclass(frozen=True)
class Spot:
    """A place of any picture, drawn before the picture is known.

    Attributes:
        share: of the picture's whole detail, row by row, that comes before the place; [0, 1).
        down, right: how far from there it lies, as shares of the shorter side.
    """

    share: float
    down: float
    right: float


def draw_spot(rng: np.random.Generator) -> Spot:
    """Draws a place in proportion to the detail around it."""
    share = float(rng.uniform())
    down, right = rng.normal(0, _AROUND, 2)  # edges have detail, smooth parts none
    return Spot(share, float(down), float(right))


def detail_of(image: np.ndarray) -> np.ndarray:
    """How much uint8 [h, w, 3] changes at each pixel, float [h, w]: the squared gradient of luma.

    On a plain ground the part stands out, where defects are; a texture has detail everywhere.
    """
    rows, columns = np.gradient(np.asarray(Image.fromarray(image).convert("L"), float))
    return rows**2 + columns**2


def place_of(spot: Spot, detail: np.ndarray) -> tuple[float, float]:
    """Row and column of a spot as shares of height and width; ``detail`` [h, w] is not all 0."""
    height, width = detail.shape
    rows = np.cumsum(detail.sum(axis=1))
    before = spot.share * rows[-1]
    row = min(int(np.searchsorted(rows, before, "right")), height - 1)
    columns = np.cumsum(detail[row])
    before -= rows[row] - columns[-1]
    column = min(int(np.searchsorted(columns, before, "right")), width - 1)
    near = np.array([row, column]) + np.array([spot.down, spot.right]) * min(height, width)
    inside = np.clip(near, 0, [height - 1, width - 1])
    return float((inside[0] + 0.5) / height), float((inside[1] + 0.5) / width)
