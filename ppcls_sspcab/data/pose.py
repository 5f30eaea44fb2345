"""Whether the good pictures show the part, or the texture, in one pose or turned anyhow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

SIZE = 32
_BANDS = ((1.5, 3), (3, 6), (6, 12))  # octaves of frequency, in waves a picture
_DIRECTIONS = 36
_BLUR = np.pi / 18  # of the directions
_FINE = 4  # steps of the spectrum in a wave
_MOST = 64  # pictures that are looked at
ONE_POSE = 0.3  # agreement from which on the pictures have one pose


def pose_agreement(pictures: Sequence[np.ndarray]) -> float:
    """How far pictures agree on the directions of their structure: near 1 in one pose, 0 in any.

    The spectrum's amplitudes turn as the picture does and do not move when it moves, so a texture
    counts like a part. Their logarithms in each octave, less the mean over all directions, make a
    profile of the picture; the agreement is the mean product of two pictures' profiles over that
    of a picture's with itself. A picture upside down has the same profile.

    Args:
        pictures: at least one, uint8 RGB [h, w, 3]; the square in the middle counts, and of more
            than 64 pictures 64 that are spread evenly.

    Returns:
        The agreement; 1 for one picture and for pictures without structure.
    """
    chosen = np.unique(np.linspace(0, len(pictures) - 1, min(len(pictures), _MOST)).astype(int))
    profiles = _profiles(np.stack([_small(pictures[index]) for index in chosen.tolist()]))
    count, own = len(profiles), float((profiles**2).sum())
    if count == 1 or own < 1e-9:
        return 1.0
    pairs = float((profiles.sum(axis=0) ** 2).sum()) - own
    return pairs / (own * (count - 1))


def _small(image: np.ndarray) -> np.ndarray:
    """Luma of the square in the middle, float [SIZE, SIZE]."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    grey = Image.fromarray(image[top : top + side, left : left + side]).convert("L")
    return np.asarray(grey.resize((SIZE, SIZE), Image.Resampling.BOX), float)


def _profiles(greys: np.ndarray) -> np.ndarray:
    """Log amplitude by octave and direction, less its mean over the directions.

    float [N, SIZE, SIZE] -> float [N, octaves, directions].
    """
    line = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    radius = np.hypot(line[:, None], line).clip(0, 1)
    window = 0.5 + 0.5 * np.cos(np.pi * radius)  # round, so that it has no direction itself
    mean = (greys * window).sum(axis=(1, 2), keepdims=True) / window.sum()
    # Padded: the spectrum between whole waves, too, whose few directions would be a pattern.
    amplitude = np.abs(np.fft.fft2((greys - mean) * window, (_FINE * SIZE, _FINE * SIZE)))
    waves = np.fft.fftfreq(_FINE * SIZE) * SIZE
    length, direction = np.hypot(waves[:, None], waves), np.arctan2(waves[:, None], waves)
    bins = np.arange(_DIRECTIONS)[:, None] * np.pi / _DIRECTIONS
    profiles = []
    for least, most in _BANDS:
        band = (length >= least) & (length < most)
        away = (direction[band] - bins + np.pi / 2) % np.pi - np.pi / 2
        weight = np.exp(-((away / _BLUR) ** 2) / 2)
        seen = amplitude[:, band] @ (weight / weight.sum(axis=1, keepdims=True)).T
        profiles.append(np.log(seen + 1))
    found = np.stack(profiles, axis=1)
    return found - found.mean(axis=2, keepdims=True)
