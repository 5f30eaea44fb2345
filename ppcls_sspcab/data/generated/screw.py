"""An object at any angle with small defects: a countersunk screw on a plain ground."""

from __future__ import annotations

import math

import numpy as np

from ppcls_sspcab.data.generated.canvas import STEEL, frame

DEFECTS = ("scratch_head", "scratch_neck", "thread_side", "thread_top", "bent_tip")
_HALF_LENGTH = 0.72
_HEAD, _NECK = 0.13, 0.36  # where they end, as shares of the length from the head
_TURNS = 34  # of the thread, if it went along the whole screw
_THREAD = 0.03  # depth
_YELLOWED = np.array((1, 0.96, 0.86))


def draw(
    rng: np.random.Generator, size: int, defect: str | None, chance: np.random.Generator
) -> np.ndarray:
    """The screw: float [S, S, 3] in 0..255."""
    x, y = frame(rng, size, shift=0.12, turn=180.0)
    share = (x + _HALF_LENGTH) / (2 * _HALF_LENGTH)  # 0 at the head, 1 at the tip
    threaded = share > _NECK
    ridge = 0.5 + 0.5 * np.cos(2 * math.pi * (share * _TURNS + rng.uniform(0, 1) + 1.1 * y))
    depth = np.full(x.shape, _THREAD)
    if defect == "thread_side":
        middle, width = chance.uniform(0.42, 0.82), chance.uniform(0.03, 0.07)
        worn = (np.abs(share - middle) < width / 2) & (np.sign(y) == chance.choice([-1, 1]))
        depth[worn] = 0
    if defect == "bent_tip":
        bend = chance.choice([-1, 1]) * chance.uniform(0.03, 0.07)
        y = y - bend * np.clip((share - 0.86) / 0.14, 0, 1.2) ** 1.3
    core = np.where(share < _HEAD, 0.215 - 0.85 * share, 0.085)
    taper = np.clip((1 - share) / 0.12, 0, 1) ** 0.6
    half = np.where(threaded, (core + depth * ridge) * taper, core)
    on_screw = (np.abs(y) < half) & (share > 0) & (share < 1)
    across = np.clip(y / np.maximum(half, 1e-6), -1, 1)
    light = 70 + 110 * np.sqrt(1 - across**2) + 50 * np.exp(-(((across + 0.35) / 0.2) ** 2))
    light = np.where(threaded, light * (0.62 + 0.38 * ridge), light)

    picture = np.empty((*x.shape, 3))
    picture[:] = (196.0, 200.0, 204.0)
    picture[on_screw] = light[on_screw, None] * STEEL * _YELLOWED
    shadow = (np.abs(y - 0.05) < half + 0.02) & (share > -0.02) & (share < 1) & ~on_screw
    picture[shadow] *= 0.82
    if defect in ("scratch_head", "scratch_neck"):
        reach = (0.03, 0.1) if defect == "scratch_head" else (0.18, 0.33)
        _add_scratch(picture, share - chance.uniform(*reach), y, on_screw, chance)
    if defect == "thread_top":
        away = (share - chance.uniform(0.45, 0.85)) * 2 * _HALF_LENGTH
        worn = (np.hypot(away / 0.045, y / 0.03) < 1) & on_screw
        picture[worn] = np.clip(picture[worn].mean() + chance.uniform(-20, 20), 0, 255)
    return picture


def _add_scratch(
    picture: np.ndarray,
    along: np.ndarray,
    y: np.ndarray,
    on_screw: np.ndarray,
    chance: np.random.Generator,
) -> None:
    """Draws a short bent line; ``along`` is 0 at its middle, in shares of the screw's length."""
    x, y = along * 2 * _HALF_LENGTH, y - chance.uniform(-0.05, 0.05)
    angle, half = chance.uniform(0, math.pi), chance.uniform(0.03, 0.08)
    straight = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    across -= 0.25 * half * np.cos(2 * straight / half + chance.uniform(0, 2 * math.pi))
    hit = (np.abs(straight) < half) & (np.abs(across) < chance.uniform(0.006, 0.011)) & on_screw
    picture[hit] = chance.choice([240.0, 50.0])
