"""CutPaste whose patches suit what the good pictures show: a texture or a part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppcls_sspcab.data.texture import TEXTURE, evenness
from ppcls_sspcab.data.transforms.cutpaste import CutPaste, Variant
from ppcls_sspcab.data.transforms.paste import Paste
from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.registry import TRANSFORMS
from ppcls_sspcab.utils.logger import get_logger

SMALL_PATCHES: Mapping[str, Any] = {
    "source": "other",
    "blend": "poisson",
    "on_part": True,
    "area_ratio": (0.003, 0.03),
    "scar_width": (5, 16),
}


@TRANSFORMS.register
class AdaptiveCutPaste:
    """:class:`CutPaste` with one set of arguments for textures and another for parts.

    The good pictures that are trained on decide (:func:`ppcls_sspcab.data.texture.evenness`); the
    log says what they show.

    Args:
        variant: as of ``CutPaste``.
        texture: other arguments of ``CutPaste`` where the pictures show a texture; by default its
            own defaults, the CutPaste paper's patches.
        part: the same where they show a part; by default small patches of another picture, blended
            into the part, after NSA (Schlueter et al., ECCV 2022).

    Attributes:
        labels, class_num: those of ``CutPaste``.
        wants_other: whether :meth:`apply` takes a second picture, once :meth:`prepare` has decided.

    Raises:
        ConfigError: an argument that ``CutPaste`` refuses, or ``variant`` among those of one kind.
    """

    def __init__(
        self,
        variant: Variant = "3way",
        *,
        texture: Mapping[str, Any] | None = None,
        part: Mapping[str, Any] | None = None,
    ) -> None:
        self._texture = _cutpaste(variant, texture or {}, "texture")
        self._part = _cutpaste(variant, SMALL_PATCHES if part is None else part, "part")
        self.labels, self.class_num = self._part.labels, self._part.class_num
        self.wants_other = self._texture.wants_other or self._part.wants_other
        self._chosen: CutPaste | None = None

    def prepare(self, pictures: Sequence[np.ndarray]) -> None:
        """Decides by good pictures, uint8 [h, w, 3]; logs it."""
        found = evenness(pictures)
        self._chosen = self._texture if found >= TEXTURE else self._part
        self.wants_other = self._chosen.wants_other
        shown = "a texture" if self._chosen is self._texture else "a part"
        get_logger().info(f"AdaptiveCutPaste: good pictures show {shown} ({found:.2f})")

    def draw(self, rng: np.random.Generator, height: int, width: int) -> tuple[Paste, ...]:
        """Draws the pastes for a picture of this size, as ``CutPaste`` does.

        Raises:
            ValueError: a side is shorter than 8 px, or nothing was prepared.
        """
        return self._decided.draw(rng, height, width)

    def apply(
        self, image: np.ndarray, parameters: Sequence[Paste], other: np.ndarray | None = None
    ) -> np.ndarray:
        """The views of uint8 [H, W, 3], as ``CutPaste`` makes them."""
        return self._decided.apply(image, parameters, other)

    @property
    def _decided(self) -> CutPaste:
        if self._chosen is None:
            raise ValueError("AdaptiveCutPaste must see good pictures before it draws")
        return self._chosen


def _cutpaste(variant: Variant, arguments: Mapping[str, Any], kind: str) -> CutPaste:
    key = f"{AdaptiveCutPaste.__name__}.{kind}"
    if "variant" in arguments:
        raise ConfigError(f"{key}.variant", "is that of both kinds: set it beside them")
    section = {"name": CutPaste.__name__, "variant": variant, **arguments}
    return TRANSFORMS.build(section, key)
