"""Small changes of a good picture that leave it good: section ``Tolerance``.

A change is drawn and applied apart, as the transforms are; lengths are pixels of the picture.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from ppcls_sspcab.config.schema import ToleranceSection
from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.data.transforms.color_jitter import LUMA

REFERENCE_SIDE = 256  # of the picture whose pixels ``Tolerance.shift`` and ``blur`` are given in

GOLDEN_RATIO = (math.sqrt(5) - 1) / 2

# First keys of the changes of pictures to fit to, of held-out ones, and of those of the folders
# (good, bad) of Threshold.validation: apart from each other's and from those of training.
FIT_KEYS, HELD_OUT_KEYS, VALIDATION_KEYS = 1 << 60, 1 << 61, (1 << 62, 3 << 61)


@dataclass(frozen=True)
class Change:
    """A change as plain numbers; the default of each changes nothing.

    Attributes:
        brightness: factor.
        contrast: factor about the mean luma of the picture.
        red, blue: factors of white balance; a grey picture has none.
        down, right: shift in pixels.
        angle: degrees, anticlockwise about the middle.
        blur: standard deviation in pixels.
        quality: of JPEG, 1..100; None: not compressed.
    """

    brightness: float = 1.0
    contrast: float = 1.0
    red: float = 1.0
    blue: float = 1.0
    down: float = 0.0
    right: float = 0.0
    angle: float = 0.0
    blur: float = 0.0
    quality: int | None = None


class WithinTolerance:
    """A transform that changes a picture as its lamp and camera may: within ``Tolerance``.

    Each number is uniform in its range and independent of the others. Without ``turn``, shifts are
    whole pixels, the range rounded up, so that nothing is resampled.
    """

    def __init__(self, tolerance: ToleranceSection) -> None:
        self.tolerance = tolerance

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Change:
        """Draws the change of a picture of this size."""
        ends = self.tolerance
        brightness, contrast, red, blue, angle = rng.uniform(-1, 1, 5).tolist()
        reach = scaled(ends.shift, height, width)
        if ends.turn:
            down, right = rng.uniform(-reach, reach, 2).tolist()
        else:
            down, right = rng.integers(-math.ceil(reach), math.ceil(reach) + 1, 2).tolist()
        return Change(
            brightness=1 + ends.brightness * brightness,
            contrast=1 + ends.contrast * contrast,
            red=1 + ends.white_balance * red,
            blue=1 + ends.white_balance * blue,
            down=down,
            right=right,
            angle=ends.turn * angle,
            blur=float(rng.uniform(0, scaled(ends.blur, height, width))),
            quality=None if ends.jpeg is None else int(rng.integers(ends.jpeg, 101)),
        )

    def apply(self, image: np.ndarray, parameters: Change) -> np.ndarray:
        """Changes uint8 [H, W, 3]; the result has the same shape."""
        return apply_change(image, parameters)


def scaled(length: float, height: int, width: int) -> float:
    """A length of ``Tolerance``, in pixels of a picture of this size."""
    return length * min(height, width) / REFERENCE_SIDE


def apply_change(image: np.ndarray, change: Change) -> np.ndarray:
    """Moves, blurs, recolours and compresses uint8 [H, W, 3], in this order, as a camera does.

    The border that comes free mirrors what is beside it.
    """
    image = _moved(image, change)
    if change.blur:
        blurred = Image.fromarray(image).filter(ImageFilter.GaussianBlur(change.blur))
        image = np.asarray(blurred)
    image = _recoloured(image, change)
    return image if change.quality is None else _compressed(image, change.quality)


def _moved(image: np.ndarray, change: Change) -> np.ndarray:
    if not (change.down or change.right or change.angle):
        return image
    height, width = image.shape[:2]
    turn = math.radians(change.angle)
    cosine, sine = math.cos(turn), math.sin(turn)
    reach = max(abs(change.down), abs(change.right)) + abs(sine) * max(height, width)
    margin = math.ceil(reach) + 2  # what bicubic interpolation sees
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), "reflect")
    if not change.angle and change.down == int(change.down) and change.right == int(change.right):
        top, left = margin - int(change.down), margin - int(change.right)
        return np.ascontiguousarray(padded[top : top + height, left : left + width])
    # Where each pixel comes from: turned back about the middle, after it was shifted back.
    middle_x, middle_y = width / 2, height / 2
    x, y = -middle_x - change.right, -middle_y - change.down
    matrix = (
        *(cosine, -sine, cosine * x - sine * y + middle_x + margin),
        *(sine, cosine, sine * x + cosine * y + middle_y + margin),
    )
    moved = Image.fromarray(padded).transform(
        (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
    )
    return np.array(moved)


def _recoloured(image: np.ndarray, change: Change) -> np.ndarray:
    """Brightness, white balance and contrast: one table a channel, rounded and clipped once."""
    balance = np.ones(3) if _is_grey(image) else np.array([change.red, 1.0, change.blue])
    gains = change.brightness * balance
    if change.contrast == 1 and (gains == 1).all():
        return image
    total = image.sum(axis=0, dtype=np.uint32).sum(axis=0)
    luma = float(total @ (LUMA * gains)) / (image.shape[0] * image.shape[1])
    levels = np.arange(256)[None] * gains[:, None]
    table = np.rint(luma + change.contrast * (levels - luma)).clip(0, 255).astype(np.uint8)
    return np.array(Image.fromarray(image).point(table.ravel().tolist()))


def _compressed(image: np.ndarray, quality: int) -> np.ndarray:
    picture = Image.fromarray(image)
    file = io.BytesIO()
    # A grey camera's file has no colours that compression could bring in.
    (picture.convert("L") if _is_grey(image) else picture).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file).convert("RGB"))


def _is_grey(image: np.ndarray) -> bool:
    return all(np.array_equal(image[..., 0], image[..., channel]) for channel in (1, 2))


class ChangedStore(ImageStore):
    """The pictures of a store, each changed when it is read.

    Args:
        store: what is changed; it keeps the pictures in memory.
        change: makes uint8 [h, w, 3] of a picture's number and its pixels, the same each time.
    """

    def __init__(self, store: ImageStore, change: Callable[[int, np.ndarray], np.ndarray]) -> None:
        super().__init__(store.samples, store.preprocess, 0, store.on_error)
        self._store = store
        self._change = change

    def __getitem__(self, index: int) -> np.ndarray:
        return self._change(index, self._store[index])


def changed_at_random(
    store: ImageStore, tolerance: ToleranceSection, seed: int, first_key: int
) -> ChangedStore:
    """Each picture of a store changed within the tolerance, by ``(seed, first_key + index)``."""
    transform = WithinTolerance(tolerance)

    def change(index: int, image: np.ndarray) -> np.ndarray:
        key = np.array([seed, first_key + index], np.uint64)
        rng = np.random.Generator(np.random.Philox(key=key))
        return transform.apply(image, transform.draw(rng, *image.shape[:2]))

    return ChangedStore(store, change)


class BothVersions(ImageStore):
    """Of each picture of a store two in a row: as it is, and as ``changed`` has it.

    Which of them comes first has no period, so that whatever takes every n-th gets both kinds.
    """

    def __init__(self, store: ImageStore, changed: ImageStore) -> None:
        samples = [sample for sample in store.samples for _ in range(2)]
        super().__init__(samples, store.preprocess, 0, store.on_error)
        self._store = store
        self._changed = changed

    def __getitem__(self, index: int) -> np.ndarray:
        picture, second = divmod(index, 2)
        changed_first = picture * GOLDEN_RATIO % 1 >= 0.5
        return (self._changed if changed_first != bool(second) else self._store)[picture]
