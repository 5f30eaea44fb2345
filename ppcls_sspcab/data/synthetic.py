"""Synthetic defects to validate on. None is a CutPaste: a network that has learnt to see pasted
rectangles is judged on other things.

Each kind is drawn and applied apart, as the transforms are; lengths are shares of the shorter side.
Sizes and strengths go from what is hardly seen to what nobody misses, since figures on plain
defects alone are all perfect and choose nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageFilter

from ppcls_sspcab.data.detail import detail_of, draw_spot, place_of

Kind = Literal["blob", "line", "missing", "warp", "blur", "color_shift"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_GRID = 6  # knots of the noise along the shorter side of a shape
_LEAST_CHANGE = 12  # levels of 255 by which a defect's strongest pixel differs at least
_SPOT, _LINE = (0.015, 0.13), (0.03, 0.3)
_STRENGTH = (0.2, 1.0)
_WANTED = 200  # defects that tell a difference of a point of AUROC from chance
MAX_SPOILT = 400  # held-out pictures to make defects from, which are in memory together


@dataclass(frozen=True)
class SyntheticDefect:
    """A defect as plain numbers.

    Attributes:
        kind: "blob" (a ragged spot of another colour), "line" (a thin crack), "missing" (a hole
            filled with the colour around it), "warp" (pulled along the axis, most in the middle),
            "blur" or "color_shift" (all within a ragged spot). In a grey picture all are grey.
        row, column: middle, as shares of height and width.
        size: radius of a spot or half the length of a line, as a share of the shorter side.
        angle: of a line and of a spot's long axis, in radians.
        shape: noise that makes an edge ragged or a line crooked, in -1..1.
        color: R, G, B of 0..255; of "color_shift" what is added.
        strength: share of the defect in the mixture with the picture, in (0, 1].
    """

    kind: Kind
    row: float
    column: float
    size: float
    angle: float
    shape: tuple[float, ...]
    color: tuple[float, float, float]
    strength: float = 1.0


def draw_defect(
    rng: np.random.Generator, kind: Kind, detail: np.ndarray | None = None
) -> SyntheticDefect:
    """Draws a defect of one kind, near ``detail`` (see ``detail.py``) if there is any.

    Size and strength are log-uniform.
    """
    row, column = rng.uniform(0, 1, 2)
    if detail is not None and detail.any():
        row, column = place_of(draw_spot(rng), detail)
    size = _log_uniform(rng, _LINE if kind == "line" else _SPOT)
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
        strength=_log_uniform(rng, _STRENGTH),
    )


def apply_defect(image: np.ndarray, defect: SyntheticDefect) -> tuple[np.ndarray, np.ndarray]:
    """Puts a defect into uint8 [h, w, 3]; returns the like, and bool [h, w] of changed pixels."""
    height, width = image.shape[:2]
    area = _line(height, width, defect) if defect.kind == "line" else _spot(height, width, defect)
    whole = _defective(image, area, defect)
    result = image.copy()
    mixed = image[area] + defect.strength * (whole - image[area])
    result[area] = np.rint(mixed).clip(0, 255).astype(np.uint8)
    return result, (result != image).any(axis=2)


def _defective(image: np.ndarray, area: np.ndarray, defect: SyntheticDefect) -> np.ndarray:
    """The pixels of ``area`` at full strength, float or uint8 [K, 3] or [3]."""
    if defect.kind == "blur":
        radius = max(1.5, 0.04 * min(image.shape[:2]))
        blurred = Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius))
        return np.asarray(blurred)[area].astype(float)
    if defect.kind == "color_shift":
        return image[area] + _colour(image, defect)
    if defect.kind == "warp":
        return _warped(image, defect)[area].astype(float)
    if defect.kind == "missing":
        ring = np.asarray(Image.fromarray(area).convert("L").filter(ImageFilter.MaxFilter(5))) > 0
        return np.median(image[ring & ~area], axis=0)
    return _contrasting(image[area], _colour(image, defect))


def synthetic_validation(
    images: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, list[str], np.ndarray]:
    """Held-out good pictures, and pictures with synthetic defects made from each.

    From few pictures one of every kind is made; from many, as many as make 200 in all, at least
    one. Kinds take turns. A defect that hardly changes its picture (a blur of a plain part) is
    drawn anew, and if it stays so, another kind takes its place.

    Args:
        images: good pictures that were not trained on, uint8 [N, h, w, 3].
        seed: from 0.

    Returns:
        pictures uint8 [N + M, h, w, 3] (the good ones first, then those made of the first, of the
        second...), labels int64 [N + M], kinds ("good" or one of ``KINDS``), masks bool
        [N + M, h, w].
    """
    each = min(len(KINDS), -(-_WANTED // len(images)))
    bad = np.repeat(images, each, axis=0)
    masks = np.zeros((len(images) + len(bad), *images.shape[1:3]), bool)
    kinds = ["good"] * len(images)
    for number in range(len(bad)):
        index, turn = divmod(number, each)
        rng = np.random.Generator(
            np.random.Philox(key=np.array([seed, index * len(KINDS) + turn], np.uint64))
        )
        kind, bad[number], masks[len(images) + number] = _visible(rng, images[index], index + turn)
        kinds.append(kind)
    labels = np.repeat(np.array([0, 1], np.int64), [len(images), len(bad)])
    return np.concatenate([images, bad]), labels, kinds, masks


def _visible(
    rng: np.random.Generator, image: np.ndarray, index: int
) -> tuple[Kind, np.ndarray, np.ndarray]:
    detail = detail_of(image)
    for turn in range(len(KINDS)):
        kind = KINDS[(index + turn) % len(KINDS)]
        for _ in range(5):
            result, mask = apply_defect(image, draw_defect(rng, kind, detail))
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


def _colour(image: np.ndarray, defect: SyntheticDefect) -> np.ndarray:
    """The defect's colour [3]; grey in a grey picture, where any other would give it away."""
    if (image == image[..., :1]).all():
        return np.full(3, defect.color[0])
    return np.array(defect.color)


def _warped(image: np.ndarray, defect: SyntheticDefect) -> np.ndarray:
    """The picture pulled along the defect's axis, at its middle by half its size: uint8.

    What comes there lay further inside the picture, so that something comes at its border, too.
    """
    height, width = image.shape[:2]
    along, across = _axes(height, width, defect)
    radius = max(defect.size * min(height, width), 1.5)
    down, right = math.sin(defect.angle), math.cos(defect.angle)
    inwards = (0.5 - defect.row) * height * down + (0.5 - defect.column) * width * right
    pull = 0.5 * radius * (1 - np.hypot(along, across) / (1.5 * radius)).clip(0)
    if inwards > 0:
        pull = -pull
    rows = np.arange(height)[:, None] - pull * down
    columns = np.arange(width)[None, :] - pull * right
    nearest = (
        np.rint(rows).astype(int).clip(0, height - 1),
        np.rint(columns).astype(int).clip(0, width - 1),
    )
    return image[nearest]


def _contrasting(covered: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The colour, moved away from the mean of the covered pixels [K, 3] by 40 levels at least."""
    mean = covered.mean(axis=0)
    if np.abs(wanted - mean).max() >= 40:
        return wanted
    return np.where(mean < 128, mean + 60, mean - 60)


def _log_uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(*np.log(bounds))))
