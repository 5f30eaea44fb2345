"""An object: a turned flange with a keyed bore and brass bolts, always nearly at one place."""

from __future__ import annotations

import math

import numpy as np

from ppcls_sspcab.data.generated.canvas import STEEL, add_stain, frame

DEFECTS = ("scratch", "contamination", "missing_part", "misplaced_part")
_BOLTS = 6
_BRASS = np.array((1.0, 0.84, 0.5))


def draw(
    rng: np.random.Generator, size: int, defect: str | None, chance: np.random.Generator
) -> np.ndarray:
    """The flange: float [S, S, 3] in 0..255."""
    x, y = frame(rng, size, shift=0.03, turn=5.0)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    marks = 3.5 * np.interp(radius * 130, np.arange(200), rng.normal(0, 1, 200))
    metal = 112 + marks + 16 * np.cos(2 * (angle - rng.uniform(0.5, 0.7)))
    key = np.minimum(0.07 - np.abs(x), np.minimum(-y, y + 0.37))
    edge = np.minimum(0.86 - radius, -np.maximum(0.28 - radius, key))  # > 0 inside the part
    bevel = np.clip(1 - edge / 0.04, 0, 1) * 55 * np.cos(angle + 2.2) * np.sign(radius - 0.55)
    shadow = 1 - 0.35 * np.clip(1 - np.hypot(x - 0.05, y - 0.06).clip(0.86) / 0.93, 0, 1) / 0.075
    picture = shadow[..., None] * (196.0, 201.0, 206.0)
    part = edge > 0
    picture[part] = (metal + bevel)[part, None] * STEEL

    turns = np.arange(_BOLTS) * 2 * math.pi / _BOLTS
    seats = np.stack([np.cos(turns), np.sin(turns)], axis=1) * 0.57
    offsets = np.zeros((_BOLTS, 2))
    present = np.ones(_BOLTS, bool)
    concerned = int(chance.integers(_BOLTS))
    if defect == "missing_part":
        present[concerned] = False
    if defect == "misplaced_part":
        way = chance.uniform(0, 2 * math.pi)
        offsets[concerned] = chance.uniform(0.1, 0.14) * np.array([math.cos(way), math.sin(way)])
    for seat, offset, there in zip(seats, offsets, present, strict=True):
        picture[np.hypot(x - seat[0], y - seat[1]) < 0.085] = (34.0, 36.0, 40.0)
        turn = rng.uniform(0, math.pi / 3)
        if there:
            _add_bolt(picture, x - seat[0] - offset[0], y - seat[1] - offset[1], turn)

    if defect == "scratch":
        _add_scratch(picture, x, y, chance)
    if defect == "contamination":
        place = chance.uniform(0.4, 0.72), chance.uniform(0, 2 * math.pi)
        middle = place[0] * math.cos(place[1]), place[0] * math.sin(place[1])
        add_stain(picture, x - middle[0], y - middle[1], chance)
    return picture


def _add_bolt(picture: np.ndarray, x: np.ndarray, y: np.ndarray, turn: float) -> None:
    """Draws a washer and a hexagonal head around (0, 0)."""
    washer = np.hypot(x, y) < 0.12
    radius, angle = np.hypot(x[washer], y[washer]), np.arctan2(y[washer], x[washer])
    light = np.cos(angle + 2.2)
    flat = radius * np.cos((angle - turn) % (math.pi / 3) - math.pi / 6)
    head = 205 + np.where(flat > 0.06, 40 * light, 0)
    picture[washer] = np.where(flat < 0.078, head, 150 + 28 * light)[:, None] * _BRASS


def _add_scratch(
    picture: np.ndarray, x: np.ndarray, y: np.ndarray, chance: np.random.Generator
) -> None:
    """Draws a bent line of changing width across the flange."""
    around = chance.uniform(0, 2 * math.pi)
    middle = 0.57 * np.array([math.cos(around), math.sin(around)])
    heading = chance.uniform(0, math.pi)
    half = chance.uniform(0.2, 0.35) * np.array([math.cos(heading), math.sin(heading)])
    bow = chance.uniform(-0.12, 0.12) * np.array([-math.sin(heading), math.cos(heading)])
    width = chance.uniform(0.014, 0.022)
    shade = chance.choice([235.0, 45.0])
    around_it = np.nonzero(np.hypot(x - middle[0], y - middle[1]) < 0.5)
    near_x, near_y = x[around_it], y[around_it]
    hit = np.zeros(len(near_x), bool)
    for part in np.linspace(-1, 1, 160):
        point = middle + part * half + (1 - part**2) * bow
        hit |= np.hypot(near_x - point[0], near_y - point[1]) < width * (1 - 0.6 * part**2)
    picture[around_it[0][hit], around_it[1][hit]] = shade
