"""A texture: a plain weave of round wires."""

from __future__ import annotations

import math

import numpy as np

from ppcls_sspcab.data.generated.canvas import STEEL, add_stain, frame

DEFECTS = ("broken_wire", "bent_wire", "contamination")
_WIRES = 9  # across the picture
_WIRE = 0.29  # radius, in distances between wires


def draw(
    rng: np.random.Generator, size: int, defect: str | None, chance: np.random.Generator
) -> np.ndarray:
    """The weave: float [S, S, 3] in 0..255."""
    x, y = frame(rng, size, shift=0.0, turn=2.0)
    phase = rng.uniform(0, 2, 2) + 20  # two periods of the weave are its true period
    place = chance.uniform(-0.55, 0.55, 2)  # where a defect is
    wires = [_WIRES / 2 * x + phase[0], _WIRES / 2 * y + phase[1]]
    spot = [_WIRES / 2 * place[0] + phase[0], _WIRES / 2 * place[1] + phase[1]]
    concerned = int(chance.integers(2)) if defect in ("broken_wire", "bent_wire") else None
    layers = []
    for axis in (0, 1):
        across, along, sign = wires[axis], wires[1 - axis], (1, -1)[axis]
        wire = np.floor(across)
        offset = across - wire - 0.5
        height = sign * np.cos(math.pi * (along - 0.5)) * np.where(wire % 2 == 0, 1, -1)
        if axis == concerned:
            own, start = math.floor(spot[axis]), spot[1 - axis]
            if defect == "broken_wire":
                gap = (wire == own) & (np.abs(along - start) < chance.uniform(0.7, 1.3))
                offset = np.where(gap, 1.0, offset)
            else:
                reach = chance.choice([-1, 1]) * chance.uniform(0.55, 0.9)
                bow = reach * np.exp(-(((along - start) / chance.uniform(0.8, 1.3)) ** 2))
                bent = across - own - 0.5 - bow
                offset = np.where(wire == own, 1.0, offset)
                over = np.abs(bent) < _WIRE
                offset = np.where(over, bent, offset)
                height = np.where(over & (np.abs(bow) > 0.1), 1.5, height)
        layers.append((offset / _WIRE, height))
    picture = _woven(layers)
    if defect == "contamination":
        add_stain(picture, x - place[0], y - place[1], chance)
    return picture


def _woven(layers: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Two layers of wires, each (offset from the wire's middle in radii, height in -1..1)."""
    picture = np.empty((*layers[0][0].shape, 3))
    picture[:] = (44.0, 50.0, 58.0)
    top = np.full(picture.shape[:2], -np.inf)
    for offset, height in layers:
        seen = (np.abs(offset) < 1) & (height > top)
        across, up = offset[seen], height[seen]
        shine = 70 * np.exp(-(((across + 0.3) / 0.28) ** 2))
        light = (60 + 95 * np.sqrt(1 - across**2) + shine) * (0.84 + 0.16 * np.clip(up, -1, 1))
        picture[seen] = light[:, None] * STEEL
        top[seen] = up
    return picture
