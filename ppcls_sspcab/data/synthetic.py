"""Synthetic defects to validate on. None is a CutPaste: a network that has learnt to see pasted
rectangles is judged on other things.

Each kind is drawn and applied apart, as the transforms are; lengths are shares of the shorter side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageFilter

Kind = Literal["blob", "line", "missing", "blur", "color_shift"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_GRID = 6  # knots of the noise along the shorter side of a shape
_LEAST_CHANGE = 12  # levels of 255 by which a defect's strongest pixel differs at least


@dataclass(frozen=True)
class SyntheticDefect:
    """A defect as plain numbers.

    Args:
        kind: "blob" (a ragged spot of another colour), "line" (a thin crack), "missing" (a hole
            filled with the colour around it), "blur" or "color_shift" (both within a ragged spot).
        row, column: middle, as shares of height and width.
        size: radius of a spot or half the length of a line, as a share of the shorter side.
        angle: of a line and of a spot's long axis, in radians.
        shape: noise that makes an edge ragged or a line crooked, in -1..1.
        color: R, G, B of 0..255; of "color_shift" what is added.
    """

    kind: Kind
    row: float
    column: float
    size: float
    angle: float
    shape: tuple[float, ...]
    color: tuple[float, float, float]


def draw_defect(rng: np.random.Generator, kind: Kind) -> SyntheticDefect:
    """Draws a defect of one kind."""
    row, column = rng.uniform(0.2, 0.8, 2)
    size = rng.uniform(0.12, 0.3) if kind == "line" else rng.uniform(0.05, 0.13)
    color = rng.uniform(0, 255, 3)
    if kind == "color_shift":
        color = rng.choice([-1.0, 1.0], 3) * rng.uniform(30, 70, 3)
    return SyntheticDefect(
        kind=kind,
        row=float(row),
        column=float(column),
        size=float(size),
        angle=float(rng.uniform(0, math.pi)),
        shape=tuple(float(value) for value in rng.uniform(-1, 1, 2 * _GRID)),
        color=(float(color[0]), float(color[1]), float(color[2])),
    )


def apply_defect(image: np.ndarray, defect: SyntheticDefect) -> tuple[np.ndarray, np.ndarray]:
    """Puts a defect into a picture.

    Args:
        image: uint8 [h, w, 3].
        defect: as drawn.

    Returns:
        uint8 [h, w, 3], and bool [h, w], the pixels that were changed.
    """
    height, width = image.shape[:2]
    area = _line(height, width, defect) if defect.kind == "line" else _spot(height, width, defect)
    result = image.copy()
    if defect.kind == "blur":
        radius = max(1.5, 0.04 * min(height, width))
        blurred = Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius))
        result[area] = np.asarray(blurred)[area]
    elif defect.kind == "color_shift":
        shifted = image[area] + np.array(defect.color)
        result[area] = np.rint(shifted).clip(0, 255).astype(np.uint8)
    elif defect.kind == "missing":
        ring = np.asarray(Image.fromarray(area).convert("L").filter(ImageFilter.MaxFilter(5))) > 0
        around = image[ring & ~area]
        result[area] = np.median(around, axis=0).astype(np.uint8)
    else:
        result[area] = np.rint(_contrasting(image[area], defect.color)).astype(np.uint8)
    return result, (result != image).any(axis=2)


def synthetic_validation(
    images: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, list[str], np.ndarray]:
    """Good pictures, and one synthetic defect made from each.

    Kinds take turns. A defect that hardly changes its picture (a blur of a plain part) is drawn
    anew, and if it stays so, another kind takes its place.

    Args:
        images: good pictures that were not trained on, uint8 [N, h, w, 3].
        seed: from 0; decides everything.

    Returns:
        pictures uint8 [2N, h, w, 3] (the good ones first), labels int64 [2N], kinds ("good" or
        one of ``KINDS``), masks bool [2N, h, w].
    """
    bad = np.empty_like(images)
    masks = np.zeros((2 * len(images), *images.shape[1:3]), bool)
    kinds = ["good"] * len(images)
    for index, image in enumerate(images):
        rng = np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))
        kind, bad[index], masks[len(images) + index] = _visible(rng, image, index)
        kinds.append(kind)
    labels = np.repeat(np.array([0, 1], np.int64), len(images))
    return np.concatenate([images, bad]), labels, kinds, masks


def _visible(
    rng: np.random.Generator, image: np.ndarray, index: int
) -> tuple[Kind, np.ndarray, np.ndarray]:
    for turn in range(len(KINDS)):
        kind = KINDS[(index + turn) % len(KINDS)]
        for _ in range(5):
            result, mask = apply_defect(image, draw_defect(rng, kind))
            if np.abs(result.astype(int) - image).max() >= _LEAST_CHANGE:
                return kind, result, mask
    # Never got so far: a blob contrasts with whatever it covers.
    return kind, result, mask


def _spot(height: int, width: int, defect: SyntheticDefect) -> np.ndarray:
    """An ellipse whose edge swings with the noise: bool [h, w]."""
    along, across = _axes(height, width, defect)
    angle = np.arctan2(across, along)
    edge = np.ones_like(angle)
    for wave in range(_GRID):
        strength, phase = defect.shape[wave], math.pi * defect.shape[_GRID + wave]
        edge += 0.35 * strength / (wave + 1) * np.cos((wave + 2) * angle + phase)
    radius = max(defect.size * min(height, width), 1.5)
    return np.hypot(along, 1.5 * across) < radius * edge.clip(0.3)


def _line(height: int, width: int, defect: SyntheticDefect) -> np.ndarray:
    """A crooked line one hundredth of the shorter side wide, at least a pixel: bool [h, w]."""
    along, across = _axes(height, width, defect)
    half = defect.size * min(height, width)
    knots = np.linspace(-half, half, len(defect.shape))
    course = np.interp(along, knots, 0.15 * half * np.array(defect.shape))
    thickness = max(0.5, 0.006 * min(height, width)) * math.sqrt(2)
    return (np.abs(across - course) < thickness) & (np.abs(along) < half)


def _axes(height: int, width: int, defect: SyntheticDefect) -> tuple[np.ndarray, np.ndarray]:
    """Distances in pixels along and across the defect's axis; its middle is a pixel's middle."""
    down = np.arange(height)[:, None] - int(defect.row * height)
    right = np.arange(width)[None, :] - int(defect.column * width)
    cosine, sine = math.cos(defect.angle), math.sin(defect.angle)
    return right * cosine + down * sine, down * cosine - right * sine


def _contrasting(covered: np.ndarray, color: tuple[float, float, float]) -> np.ndarray:
    """``color``, moved away from the mean of the covered pixels [K, 3] by 40 levels at least."""
    mean = covered.mean(axis=0)
    wanted = np.array(color)
    if np.abs(wanted - mean).max() >= 40:
        return wanted
    return np.where(mean < 128, mean + 60, mean - 60)
