"""Fewer numbers a place, by a projection that is always the same."""

from __future__ import annotations

import numpy as np


def orthogonal(rows: int, columns: int) -> np.ndarray:
    """float32 [rows, columns] with orthonormal columns; rows >= columns."""
    rng = np.random.Generator(np.random.Philox(key=[rows, columns]))
    return np.linalg.qr(rng.normal(size=(rows, columns)))[0].astype(np.float32)
