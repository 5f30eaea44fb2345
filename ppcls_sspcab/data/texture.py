"""Whether the good pictures show a texture, which fills them, or a part on a plainer ground."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from ppcls_sspcab.data.detail import detail_of
from ppcls_sspcab.data.split import evenly_spread

TEXTURE = 0.4  # evenness from which on the pictures show a texture
_FIELDS = 8  # along each side
_POOR = 0.1  # share of the fields that are poorest in detail
_MOST = 64  # pictures that are looked at


def evenness(pictures: Sequence[np.ndarray]) -> float:
    """How evenly the pictures' detail is spread: near 1 in a texture, near 0 with a plain ground.

    Each picture is cut into 8 x 8 fields; it has the detail of the field that a tenth of them fall
    short of, as a share of the mean field's.

    Args:
        pictures: at least one, uint8 RGB [h, w, 3]; of more than 64, 64 that are spread evenly.

    Returns:
        The median over the pictures, in [0, 1]; a picture without any detail has 0.
    """
    chosen = (pictures[index] for index in evenly_spread(len(pictures), _MOST))
    return float(np.median([_evenness(image) for image in chosen]))


def _evenness(image: np.ndarray) -> float:
    detail = Image.fromarray(detail_of(image).astype(np.float32))
    fields = np.asarray(detail.resize((_FIELDS, _FIELDS), Image.Resampling.BOX), float)
    mean = fields.mean()
    return min(1.0, float(np.quantile(fields, _POOR) / mean)) if mean > 0 else 0.0
