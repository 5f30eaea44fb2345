"""A turn of the picture before CutPaste, for parts that lie at any angle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from PIL import Image

from ppcls_sspcab.data.pose import ONE_POSE, pose_agreement
from ppcls_sspcab.data.texture import TEXTURE, evenness
from ppcls_sspcab.errors import DataError
from ppcls_sspcab.registry import TRANSFORMS
from ppcls_sspcab.utils.logger import get_logger

Angles = Literal["auto", "any", "right", "none"]


@TRANSFORMS.register
class RandomTurn:
    """Turns the picture about its middle; the corners that come free mirror what is beside them.

    Args:
        angles: ``any`` angle, uniform; ``right`` angles alone (0, 90, 180 or 270 degrees, without
            loss, of square pictures); ``none``; ``auto``: ``any`` if the good pictures that are
            trained on show a part that lies anyhow, else ``none``: a texture would get seams where
            it is mirrored.

    Raises:
        ValueError: another word.
    """

    def __init__(self, angles: Angles = "auto") -> None:
        if angles not in get_args(Angles):
            raise ValueError(f"angles must be {' or '.join(get_args(Angles))}, not {angles!r}")
        self.angles = angles
        self._decided: Angles = angles

    def prepare(self, pictures: Sequence[np.ndarray]) -> None:
        """Decides ``auto`` by good pictures, uint8 [h, w, 3]; logs it."""
        if self.angles != "auto":
            return
        self._decided, shown = "none", "a texture"
        if evenness(pictures) < TEXTURE:
            agreement = pose_agreement(pictures)
            self._decided = "none" if agreement >= ONE_POSE else "any"
            shown = f"{'one' if self._decided == 'none' else 'any'} pose ({agreement:.2f})"
        get_logger().info(f"RandomTurn: angles {self._decided}, as good pictures show {shown}")

    def draw(self, rng: np.random.Generator, height: int, width: int) -> float:
        """Draws the angle in degrees, counter-clockwise as seen.

        Raises:
            DataError: ``right`` and the picture is not square.
            ValueError: ``auto`` before :meth:`prepare`.
        """
        if self._decided == "auto":
            raise ValueError("RandomTurn with angles: auto must see good pictures before it draws")
        if self._decided == "right":
            if height != width:
                raise DataError(
                    f"RandomTurn with angles: right needs square pictures, not {height}x{width} "
                    "(height x width): set angles: any or none, or a square Preprocess.image_size"
                )
            return 90.0 * int(rng.integers(4))
        return float(rng.uniform(-180, 180)) if self._decided == "any" else 0.0

    def apply(self, image: np.ndarray, parameters: float) -> np.ndarray:
        """Turns uint8 [H, W, 3]; the result has the same shape."""
        if image.shape[0] == image.shape[1] and parameters % 90 == 0:
            return np.ascontiguousarray(np.rot90(image, int(parameters // 90)))
        return _turned(image, math.radians(parameters))


def _turned(image: np.ndarray, angle: float) -> np.ndarray:
    height, width = image.shape[:2]
    cosine, sine = math.cos(angle), math.sin(angle)
    rows = height * abs(cosine) + width * abs(sine)  # what is read of the mirrored picture
    columns = width * abs(cosine) + height * abs(sine)
    down, right = (
        max(0, math.ceil((read - side) / 2) + 1)
        for read, side in ((rows, height), (columns, width))
    )
    mirrored = Image.fromarray(np.pad(image, ((down, down), (right, right), (0, 0)), "reflect"))
    middle = width / 2 + right, height / 2 + down
    matrix = (
        *(cosine, -sine, middle[0] - (cosine * width - sine * height) / 2),
        *(sine, cosine, middle[1] - (sine * width + cosine * height) / 2),
    )
    size = (width, height)
    how = Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    return np.array(mirrored.transform(size, *how))
