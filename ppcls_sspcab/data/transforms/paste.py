"""One pasted patch: where it is cut and where it goes, and how it is painted."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ppcls_sspcab.data.blending import feather, ring, seamless
from ppcls_sspcab.data.detail import Spot, place_of
from ppcls_sspcab.data.transforms.color_jitter import Color, recolor

Blend = Literal["hard", "feather", "poisson"]


@dataclass(frozen=True)
class Paste:
    """One patch that is cut out, recoloured, rotated and pasted; lengths in pixels.

    Attributes:
        kind: "normal" or "scar".
        top, left: upper left corner of the cut.
        height, width: size of the cut.
        angle: rotation in degrees, counter-clockwise as seen; 0 for "normal".
        target_top, target_left: upper left corner of the box that the rotated patch fills.
        color: recolouring of the patch.
        spots: where on the part the middles of the cut and of the box are to be, which
            :func:`on_part` turns into the corners above; None leaves them as they are.
    """

    kind: str
    top: int
    left: int
    height: int
    width: int
    angle: float
    target_top: int
    target_left: int
    color: Color
    spots: tuple[Spot, Spot] | None = None


def rotated_box(height: int, width: int, angle: float) -> tuple[int, int]:
    """Height and width of the box around a rotated rectangle, in whole pixels."""
    cosine, sine = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    return (
        math.ceil(height * cosine + width * sine - 1e-9),
        math.ceil(width * cosine + height * sine - 1e-9),
    )


def on_part(paste: Paste, source: np.ndarray, target: np.ndarray) -> Paste:
    """The paste with its corners moved to its spots, inside the picture.

    It stays as it was drawn where a picture has no detail, and where the patch would land exactly
    where it was cut.

    Args:
        source, target: ``detail_of`` the picture that is cut and of the one that is pasted into,
            float [H, W].
    """
    if paste.spots is None or not (source.any() and target.any()):
        return paste
    cut = _corner(paste.spots[0], source, (paste.height, paste.width))
    box = rotated_box(paste.height, paste.width, paste.angle)
    goal = _corner(paste.spots[1], target, box)
    if paste.angle == 0 and cut == goal:
        return paste
    return replace(paste, top=cut[0], left=cut[1], target_top=goal[0], target_left=goal[1])


def paint(view: np.ndarray, source: np.ndarray, paste: Paste, blend: Blend) -> None:
    """Pastes a patch of ``source`` into ``view``, both uint8 [H, W, 3]."""
    bottom, right = paste.top + paste.height, paste.left + paste.width
    cut = np.ascontiguousarray(source[paste.top : bottom, paste.left : right])
    patch = recolor(cut, paste.color)
    if blend == "poisson":
        patch = seamless(patch, _bilinear(view, *_forward_map(paste, *ring(*patch.shape[:2]))))
    target = view[paste.target_top :, paste.target_left :]
    if paste.angle == 0 and blend != "feather":
        target[: paste.height, : paste.width] = patch
        return
    rows, columns, inside = inverse_map(paste)
    rows, columns = rows[inside], columns[inside]
    box = target[: inside.shape[0], : inside.shape[1]]
    colors = _bilinear(patch, rows, columns) if paste.angle else patch.reshape(-1, 3)
    if blend == "feather":
        share = feather(rows, columns, paste.height, paste.width)[:, None]
        colors = np.rint(share * colors + (1 - share) * box[inside]).astype(np.uint8)
    box[inside] = colors


def inverse_map(paste: Paste) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each pixel of the target's box: row and column in the patch, and whether it is inside.

    Pixel (i, j) is the point at its middle; a pixel is inside if this point falls into the
    rectangle. All three are [box height, box width].
    """
    height, width = rotated_box(paste.height, paste.width, paste.angle)
    down = (np.arange(height) + 0.5 - height / 2)[:, None]
    right = (np.arange(width) + 0.5 - width / 2)[None, :]
    cosine, sine = math.cos(math.radians(paste.angle)), math.sin(math.radians(paste.angle))
    rows = down * cosine + right * sine + paste.height / 2
    columns = right * cosine - down * sine + paste.width / 2
    inside = (rows >= 0) & (rows < paste.height) & (columns >= 0) & (columns < paste.width)
    return rows - 0.5, columns - 0.5, inside


def _forward_map(
    paste: Paste, rows: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the picture where pixels of the patch land; against the inverse map."""
    height, width = rotated_box(paste.height, paste.width, paste.angle)
    down, right = rows + 0.5 - paste.height / 2, columns + 0.5 - paste.width / 2
    cosine, sine = math.cos(math.radians(paste.angle)), math.sin(math.radians(paste.angle))
    return (
        down * cosine - right * sine + (height - 1) / 2 + paste.target_top,
        down * sine + right * cosine + (width - 1) / 2 + paste.target_left,
    )


def _corner(spot: Spot, detail: np.ndarray, size: tuple[int, int]) -> tuple[int, int]:
    """The upper left corner of a box of this size around a spot, moved into the picture."""
    top, left = (
        min(max(0, int(place * side - length / 2)), max(0, side - length))
        for place, side, length in zip(place_of(spot, detail), detail.shape, size, strict=True)
    )
    return top, left


def _bilinear(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Colours of uint8 [h, w, 3] between its pixels, uint8 [K, 3]; the edge goes on."""
    rows = rows.clip(0, image.shape[0] - 1)
    columns = columns.clip(0, image.shape[1] - 1)
    top, left = rows.astype(int), columns.astype(int)
    bottom = np.minimum(top + 1, image.shape[0] - 1)
    right = np.minimum(left + 1, image.shape[1] - 1)
    down, across = (rows - top)[:, None], (columns - left)[:, None]
    upper = image[top, left] * (1 - across) + image[top, right] * across
    lower = image[bottom, left] * (1 - across) + image[bottom, right] * across
    return np.rint(upper * (1 - down) + lower * down).astype(np.uint8)
