"""What the drawings of all parts share: the rays of a picture, its light and its noise.

A part is drawn with ``SAMPLING`` rays along each side of a pixel, as float [S, S, 3] in 0..255.
"""

from __future__ import annotations

import math

import numpy as np

SAMPLING = 3
STEEL = np.array((0.97, 1.0, 1.04))
_STAINS = np.array(((74.0, 48.0, 30.0), (28.0, 30.0, 34.0), (226.0, 220.0, 200.0)))


def frame(
    rng: np.random.Generator, size: int, shift: float, turn: float
) -> tuple[np.ndarray, np.ndarray]:
    """x and y of each ray in the part's own frame, from about -1 to 1; both [S, S]."""
    rays = size * SAMPLING
    line = (np.arange(rays) + 0.5) / rays * 2 - 1
    x, y = line[None, :] - rng.uniform(-shift, shift), line[:, None] - rng.uniform(-shift, shift)
    angle = math.radians(rng.uniform(-turn, turn))
    return (
        x * math.cos(angle) + y * math.sin(angle),
        y * math.cos(angle) - x * math.sin(angle),
    )


def add_stain(
    picture: np.ndarray, x: np.ndarray, y: np.ndarray, chance: np.random.Generator
) -> None:
    """Draws a blot with a ragged edge around (0, 0), darkest in its middle."""
    angle = np.arctan2(y, x)
    edge = np.full(x.shape, chance.uniform(0.11, 0.17))
    for wave in range(2, 6):
        swing = chance.uniform(0, 0.3) / wave
        edge *= 1 + swing * np.cos(wave * angle + chance.uniform(0, 2 * math.pi))
    depth = np.hypot(x, y) / edge
    color = _STAINS[int(chance.integers(len(_STAINS)))]
    covered = depth < 1
    shade = color * (0.85 + 0.15 * depth[covered, None])
    picture[covered] = 0.08 * picture[covered] + 0.92 * shade


def exposed(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Averages rays to pixels, under a light of its own, with the noise of a camera."""
    size = picture.shape[0] // SAMPLING
    pixels = picture.reshape(size, SAMPLING, size, SAMPLING, 3).mean(axis=(1, 3))
    line = np.linspace(-1, 1, size)
    slope = rng.uniform(-0.05, 0.05, 2)
    light = rng.uniform(0.95, 1.05) + slope[0] * line[:, None] + slope[1] * line[None, :]
    noise = rng.normal(0, 2.0, (size, size, 1)) + rng.normal(0, 1.0, (size, size, 3))
    return np.rint(pixels * light[..., None] + noise).clip(0, 255).astype(np.uint8)
