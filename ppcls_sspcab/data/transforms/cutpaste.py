"""CutPaste: defects made from a good picture (Li et al., CVPR 2021, section 2.1 and 2.2).

Lengths in pixels are the paper's, at 256 px: a picture of H x W pixels scales them by
min(H, W) / 256, and no side gets shorter than 2 px. Crops of a picture are no smaller pictures:
with ``reference_size`` their own size, the lengths stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from ppcls_sspcab.data.detail import detail_of, draw_spot
from ppcls_sspcab.data.transforms.color_jitter import ColorJitter
from ppcls_sspcab.data.transforms.paste import Blend, Paste, on_part, paint, rotated_box
from ppcls_sspcab.errors import DataError
from ppcls_sspcab.registry import TRANSFORMS

REFERENCE_SIZE = 256
LEAST_SIDE = 2
LEAST_IMAGE = 8

Variant = Literal["normal", "scar", "union", "3way"]
Source = Literal["same", "other"]


@TRANSFORMS.register
class CutPaste:
    """Views of a picture: the original, and copies with a pasted patch.

    *normal*: a rectangle; *scar*: a thin rotated strip; *union*: one of the two, by a fair coin;
    *3way*: original, normal and scar, three classes.

    With ``source: other``, ``blend: poisson``, ``on_part`` and a small ``area_ratio`` the patches
    are those of NSA (Schlueter et al., ECCV 2022) rather than CutPaste's.

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
        source: the picture that patches are cut from: the same one, or another good one.
        blend: ``hard`` pastes a patch as it is; ``feather`` fades it out over a quarter of its
            shorter side; ``poisson`` keeps its differences of neighbours and takes the colours
            around it, so that there is no step at its border.
        on_part: whether patches are cut and pasted where the picture has detail, which on a plain
            ground is the part; else anywhere.

    Attributes:
        labels: the class of each view, starting with 0, the original.
        class_num: 3 for "3way", else 2.
        wants_other: whether :meth:`apply` takes a second picture.

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
        source: Source = "same",
        blend: Blend = "hard",
        on_part: bool = False,
    ) -> None:
        for name, value, kind in (
            ("variant", variant, Variant),
            ("source", source, Source),
            ("blend", blend, Blend),
        ):
            if value not in get_args(kind):
                raise ValueError(f"{name} must be {' or '.join(get_args(kind))}, not {value!r}")
        self.variant = variant
        self.wants_other = source == "other"
        self.blend = blend
        self.on_part = on_part
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

    def apply(
        self, image: np.ndarray, parameters: Sequence[Paste], other: np.ndarray | None = None
    ) -> np.ndarray:
        """The views of uint8 [H, W, 3]: uint8 [V, H, W, 3], the picture itself first.

        Args:
            other: the picture that patches are cut from, uint8 [H, W, 3]; None: ``image``.

        Raises:
            DataError: the two differ in size.
        """
        source = image if other is None else other
        if source.shape != image.shape:
            raise DataError(
                f"CutPaste with source: other needs pictures of one size, not {image.shape[:2]} "
                f"and {source.shape[:2]} (height, width): resize them before"
            )
        if self.on_part:
            target_detail = detail_of(image)
            detail = target_detail if source is image else detail_of(source)
            parameters = [on_part(paste, detail, target_detail) for paste in parameters]
        views = np.repeat(image[None], 1 + len(parameters), axis=0)
        for view, paste in zip(views[1:], parameters, strict=True):
            paint(view, source, paste, self.blend)
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
        spots = (draw_spot(rng), draw_spot(rng)) if self.on_part else None
        return Paste(kind, top, left, *patch, angle, *divmod(target, columns), color, spots)


def _side(length: float, most: int) -> int:
    return min(max(LEAST_SIDE, round(length)), most)


def _range(name: str, value: Sequence[float], least: float, most: float) -> tuple[float, float]:
    if len(value) != 2 or not least <= value[0] <= value[1] <= most or value[1] <= least:
        raise ValueError(
            f"{name} must be two numbers, the smaller first, in {least}..{most}, not {value}"
        )
    return (float(value[0]), float(value[1]))
