"""CutPaste: defects made from a good picture (Li et al., CVPR 2021, section 2.1 and 2.2).

Lengths in pixels are the paper's, at 256 px: a picture of H x W pixels scales them by
min(H, W) / 256, and no side gets shorter than 2 px. Crops of a picture are no smaller pictures:
with ``reference_size`` their own size, the lengths stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ppcls_sspcab.data.transforms.color_jitter import Color, ColorJitter, recolor
from ppcls_sspcab.registry import TRANSFORMS

REFERENCE_SIZE = 256
LEAST_SIDE = 2
LEAST_IMAGE = 8

Variant = Literal["normal", "scar", "union", "3way"]


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


@TRANSFORMS.register
class CutPaste:
    """Views of a picture: the original, and copies with a pasted patch.

    *normal*: a rectangle; *scar*: a thin rotated strip; *union*: one of the two, by a fair coin;
    *3way*: original, normal and scar, three classes.

    A patch never lands exactly where it was cut, if there is another place. In a picture too
    narrow for the drawn area and aspect, the aspect is drawn from the part of its range that fits;
    if none does, the patch is as long as the picture.

    Args:
        variant: which views; ``3way`` has three classes, the others two.
        area_ratio: range of the rectangle's share of the picture's area, uniform.
        aspect_ratio: range of the rectangle's height / width, log-uniform.
        scar_width, scar_length: ranges of the strip's sides, uniform, in pixels of a picture whose
            shorter side is ``reference_size``.
        scar_rotation: range of its rotation in degrees, uniform.
        jitter: range of the patch's recolouring, for all four numbers of ``ColorJitter``.
        reference_size: see ``scar_width``.

    Attributes:
        labels: the class of each view, starting with 0, the original.
        class_num: 3 for "3way", else 2.

    Raises:
        ValueError: a value is out of range.
    """

    def __init__(
        self,
        variant: Variant = "3way",
        *,
        area_ratio: Sequence[float] = (0.02, 0.15),
        aspect_ratio: Sequence[float] = (0.3, 1 / 0.3),
        scar_width: Sequence[float] = (2, 16),
        scar_length: Sequence[float] = (10, 25),
        scar_rotation: Sequence[float] = (-45, 45),
        jitter: float = 0.1,
        reference_size: int = REFERENCE_SIZE,
    ) -> None:
        if variant not in ("normal", "scar", "union", "3way"):
            raise ValueError(f"variant must be normal, scar, union or 3way, not {variant!r}")
        self.variant = variant
        self.area_ratio = _range("area_ratio", area_ratio, 1e-4, 1)
        self.aspect_ratio = _range("aspect_ratio", aspect_ratio, 1e-3, 1e3)
        self.scar_width = _range("scar_width", scar_width, 1, 128)
        self.scar_length = _range("scar_length", scar_length, 1, 128)
        self.scar_rotation = _range("scar_rotation", scar_rotation, -180, 180)
        if reference_size < LEAST_IMAGE:
            raise ValueError(f"reference_size must be at least {LEAST_IMAGE}, not {reference_size}")
        self.reference_size = reference_size
        self.labels = [0, 1, 2] if variant == "3way" else [0, 1]
        self.class_num = len(self.labels)
        self._jitter = ColorJitter(jitter, jitter, jitter, min(jitter, 0.5))

    def draw(self, rng: np.random.Generator, height: int, width: int) -> tuple[Paste, ...]:
        """Draws the pastes for a picture of this size, one for each view after the original.

        Raises:
            ValueError: a side is shorter than 8 px.
        """
        if min(height, width) < LEAST_IMAGE:
            raise ValueError(
                f"CutPaste needs at least {LEAST_IMAGE} px a side, not {height}x{width}"
            )
        drawers = {"normal": self._draw_normal, "scar": self._draw_scar}
        kinds: list[str] = list(drawers) if self.variant == "3way" else [self.variant]
        if self.variant == "union":
            kinds = [list(drawers)[int(rng.integers(2))]]
        return tuple(drawers[kind](rng, height, width) for kind in kinds)

    def apply(self, image: np.ndarray, parameters: Sequence[Paste]) -> np.ndarray:
        """The views of uint8 [H, W, 3]: uint8 [V, H, W, 3], the picture itself first."""
        views = np.repeat(image[None], 1 + len(parameters), axis=0)
        for view, paste in zip(views[1:], parameters, strict=True):
            _paste_into(view, image, paste)
        return views

    def _draw_normal(self, rng: np.random.Generator, height: int, width: int) -> Paste:
        area = rng.uniform(*self.area_ratio) * height * width
        low, high = self.aspect_ratio
        # A patch of this area fits if its aspect lies between area / W^2 and H^2 / area.
        least, most = area / width**2, height**2 / area
        low, high = min(max(low, least), most), max(min(high, most), least)
        aspect = math.exp(rng.uniform(math.log(low), math.log(max(low, high))))
        sides = (math.sqrt(area * aspect), math.sqrt(area / aspect))
        patch = (_side(sides[0], height), _side(sides[1], width))
        return self._place(rng, "normal", (height, width), patch, 0.0)

    def _draw_scar(self, rng: np.random.Generator, height: int, width: int) -> Paste:
        scale = min(height, width) / self.reference_size
        across, along = rng.uniform(*self.scar_width), rng.uniform(*self.scar_length)
        # 0.7 of the shorter side, so that the strip fits at any angle.
        most = max(LEAST_SIDE, int(0.7 * min(height, width)))
        patch = (_side(along * scale, most), _side(across * scale, most))
        angle = float(rng.uniform(*self.scar_rotation))
        return self._place(rng, "scar", (height, width), patch, angle)

    def _place(
        self,
        rng: np.random.Generator,
        kind: str,
        shape: tuple[int, int],
        patch: tuple[int, int],
        angle: float,
    ) -> Paste:
        box = rotated_box(*patch, angle)
        top, left = (int(rng.integers(s - p + 1)) for s, p in zip(shape, patch, strict=True))
        rows, columns = (max(1, s - b + 1) for s, b in zip(shape, box, strict=True))
        taken = top * columns + left if box == patch else rows * columns
        places = rows * columns - (box == patch)
        target = int(rng.integers(places)) if places else 0
        target += bool(places and target >= taken)
        color = self._jitter.draw(rng)
        return Paste(kind, top, left, *patch, angle, *divmod(target, columns), color)


def rotated_box(height: int, width: int, angle: float) -> tuple[int, int]:
    """Height and width of the box around a rotated rectangle, in whole pixels."""
    cosine, sine = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    return (
        math.ceil(height * cosine + width * sine - 1e-9),
        math.ceil(width * cosine + height * sine - 1e-9),
    )


def _paste_into(view: np.ndarray, image: np.ndarray, paste: Paste) -> None:
    bottom, right = paste.top + paste.height, paste.left + paste.width
    cut = np.ascontiguousarray(image[paste.top : bottom, paste.left : right])
    patch = recolor(cut, paste.color)
    target = view[paste.target_top :, paste.target_left :]
    if paste.angle == 0:
        target[: paste.height, : paste.width] = patch
        return
    rows, columns, inside = _inverse_map(paste)
    box = target[: inside.shape[0], : inside.shape[1]]
    box[inside] = _bilinear(patch, rows[inside], columns[inside])


def _inverse_map(paste: Paste) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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


def _bilinear(patch: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Colours of a patch uint8 [h, w, 3] between its pixels, uint8 [K, 3]; the edge goes on."""
    rows = rows.clip(0, patch.shape[0] - 1)
    columns = columns.clip(0, patch.shape[1] - 1)
    top, left = rows.astype(int), columns.astype(int)
    bottom = np.minimum(top + 1, patch.shape[0] - 1)
    right = np.minimum(left + 1, patch.shape[1] - 1)
    down, across = (rows - top)[:, None], (columns - left)[:, None]
    upper = patch[top, left] * (1 - across) + patch[top, right] * across
    lower = patch[bottom, left] * (1 - across) + patch[bottom, right] * across
    return np.rint(upper * (1 - down) + lower * down).astype(np.uint8)


def _side(length: float, most: int) -> int:
    return min(max(LEAST_SIDE, round(length)), most)


def _range(name: str, value: Sequence[float], least: float, most: float) -> tuple[float, float]:
    if len(value) != 2 or not least <= value[0] <= value[1] <= most or value[1] <= least:
        raise ValueError(
            f"{name} must be two numbers, the smaller first, in {least}..{most}, not {value}"
        )
    return (float(value[0]), float(value[1]))
