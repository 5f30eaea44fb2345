"""From a picture file to the network's input, in training, evaluation, prediction and deployment.

``Preprocess`` travels with weights and exports.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal, get_args

import numpy as np
from PIL import Image

from ppcls_sspcab.errors import ConfigError, did_you_mean
from ppcls_sspcab.image.decode import FULL_WHITE, MAX_PIXELS, Source, White, decode
from ppcls_sspcab.image.sources import as_pictures

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "area"]

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "area": Image.Resampling.BOX,
}


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes the network's input.

    Args:
        image_size: (height, width) of the input, in pixels.
        interpolation: filter of the resize; when a picture shrinks, all but ``nearest`` widen
            with it, as Pillow's do ("area" is Pillow's BOX).
        mean: per channel R, G, B, in units of 0..1.
        std: likewise, above 0.
        white: of grey pictures of more than 8 bits: the value that becomes 255, 1..65535, as larger
            ones do; ``full``: 65535; ``auto``: the largest value of 8, 10, 12, 14 or 16 bits, by
            the good pictures that are trained on. If none of them has more than 8 bits it stays
            ``auto``, and such a picture is refused.

    Raises:
        ConfigError: a value out of range, with the field's name as its key.
    """

    image_size: tuple[int, int] = (256, 256)
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    white: White = "auto"

    def __post_init__(self) -> None:
        size = _numbers(self.image_size, 2, "image_size", "two whole numbers: height, width")
        if any(value != int(value) or not 1 <= value <= 16384 for value in size):
            raise ConfigError("image_size", f"must be 1 to 16384 pixels each, not {size}")
        if self.interpolation not in get_args(Interpolation):
            hint = did_you_mean(str(self.interpolation), get_args(Interpolation))
            raise ConfigError("interpolation", f"unknown {self.interpolation!r}{hint}")
        mean = _numbers(self.mean, 3, "mean", "three numbers: R, G, B in 0..1")
        std = _numbers(self.std, 3, "std", "three numbers: R, G, B in 0..1")
        if not all(0 <= value <= 1 for value in mean):
            raise ConfigError("mean", f"must lie in 0..1 (not 0..255), not {mean}")
        if not all(0 < value <= 1 for value in std):
            raise ConfigError("std", f"must lie above 0 and at most at 1 (not 0..255), not {std}")
        if self.white not in ("auto", "full") and not (
            type(self.white) is int and 1 <= self.white <= FULL_WHITE
        ):
            raise ConfigError(
                "white", f"must be auto, full or a whole number in 1..65535, not {self.white!r}"
            )
        object.__setattr__(self, "image_size", tuple(int(value) for value in size))
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "std", std)

    def resize(self, rgb: np.ndarray) -> np.ndarray:
        """Resizes uint8 [H, W, 3] to uint8 [height, width, 3]; the shape is not kept in ratio."""
        height, width = self.image_size
        if rgb.shape[:2] == (height, width):
            return rgb
        resampling = _RESAMPLING[self.interpolation]
        return np.array(Image.fromarray(rgb).resize((width, height), resampling))

    def load(self, source: Source, most_pixels: int = MAX_PIXELS) -> np.ndarray:
        """Decodes and resizes one picture to uint8 [height, width, 3].

        Args:
            source: as :func:`decode` takes it.
            most_pixels: a picture of more is refused.

        Raises:
            ImageError: as :func:`decode`.
        """
        return self.resize(decode(source, self.white, most_pixels))

    def normalize(self, images: np.ndarray) -> np.ndarray:
        """Maps uint8 [N, h, w, 3] to float32 [N, 3, h, w]: (x / 255 - mean) / std."""
        count, height, width, _ = images.shape
        result = np.empty((count, 3, height, width), np.float32)
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            plane = result[:, channel]
            np.multiply(images[..., channel], np.float32(1 / (255 * std)), out=plane)
            plane -= np.float32(mean / std)
        return result

    def __call__(self, pictures: Source | Iterable[Source]) -> np.ndarray:
        """Decodes, resizes and normalises pictures to float32 [N, 3, height, width].

        Args:
            pictures: as :func:`decode` takes them; a single one is a list of one.

        Raises:
            ImageError: the first picture that cannot be read.
        """
        sources = list(as_pictures(pictures))
        images = np.empty((len(sources), *self.image_size, 3), np.uint8)
        for index, source in enumerate(sources):
            images[index] = self.load(source)
        return self.normalize(images)

    def to_dict(self) -> dict[str, object]:
        """Plain lists and texts, for YAML and JSON."""
        values = asdict(self)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Preprocess:
        """The opposite of :meth:`to_dict`; what is absent takes its default.

        Raises:
            ConfigError: an unknown key or a wrong value.
        """
        if not isinstance(values, Mapping):
            raise ConfigError("Preprocess", f"must be a mapping, not {values!r}")
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise ConfigError(str(name), f"unknown key{did_you_mean(str(name), known)}")
        return cls(**values)  # type: ignore[arg-type]


def _numbers(value: object, count: int, key: str, wanted: str) -> tuple[float, ...]:
    whole = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == count
    if not whole or not all(
        isinstance(item, (int, float, np.integer, np.floating))
        and not isinstance(item, bool)
        and math.isfinite(item)
        for item in value  # type: ignore[attr-defined]
    ):
        raise ConfigError(key, f"must be {wanted}, not {value!r}")
    return tuple(float(item) for item in value)  # type: ignore[attr-defined]
