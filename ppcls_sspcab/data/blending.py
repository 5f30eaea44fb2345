"""How the border of a pasted patch is hidden: faded out, or its colours bent to what is around."""

from __future__ import annotations

import numpy as np

_FADED = 0.25  # of the shorter side, from each edge inwards


def feather(rows: np.ndarray, columns: np.ndarray, height: int, width: int) -> np.ndarray:
    """The share of a patch of this size at points in its rows and columns, in 0..1.

    It rises linearly from 0 at the patch's edge to 1 a quarter of its shorter side further in.
    """
    down = np.minimum(rows + 0.5, height - 0.5 - rows)
    right = np.minimum(columns + 0.5, width - 0.5 - columns)
    return (np.minimum(down, right) / (_FADED * min(height, width))).clip(0, 1)


def ring(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels that border on a patch, each int [2 * (height + width)]."""
    down, right = np.arange(height), np.arange(width)
    rows = [np.full(width, -1), np.full(width, height), down, down]
    columns = [right, right, np.full(height, -1), np.full(height, width)]
    return np.concatenate(rows), np.concatenate(columns)


def seamless(patch: np.ndarray, around: np.ndarray) -> np.ndarray:
    """The patch with its own differences of neighbours, and no step to the colours around it.

    Poisson blending (Perez et al., 2003): what is added to the patch is harmonic, and on the ring
    around it what the ring differs from the patch's edge. A fast sine transform solves it exactly.

    Args:
        patch: uint8 [h, w, 3].
        around: colours of the :func:`ring`, uint8 or float [2 * (h + w), 3].

    Returns:
        uint8 [h, w, 3].
    """
    from scipy.fft import dstn, idstn

    height, width = patch.shape[:2]
    rows, columns = ring(height, width)
    edge = rows.clip(0, height - 1), columns.clip(0, width - 1)
    steps = np.zeros((3, height, width), np.float32)
    for channel in range(3):
        step = around[:, channel].astype(np.float32) - patch[..., channel][edge]
        np.add.at(steps[channel], edge, step)
    waves = dstn(steps, type=1, axes=(1, 2)) / _eigenvalues(height, width)
    added = idstn(waves, type=1, axes=(1, 2)).transpose(1, 2, 0)
    return np.rint(patch + added).clip(0, 255).astype(np.uint8)


def _eigenvalues(height: int, width: int) -> np.ndarray:
    """Those of the negative Laplacian with 0 around it, float32 [height, width]."""
    down, right = (
        2 - 2 * np.cos(np.pi * np.arange(1, side + 1) / (side + 1)) for side in (height, width)
    )
    return (down[:, None] + right).astype(np.float32)
