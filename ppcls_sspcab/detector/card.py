"""The description of a detector: everything but its weights and fitted arrays."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

import paddle

from ppcls_sspcab.arguments import check_arguments, check_type
from ppcls_sspcab.detector.threshold.calibration import Calibration
from ppcls_sspcab.errors import ModelError, UserError
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.version import __version__

FORMAT = 4

DEFAULT_SCORE = {"name": "embedding"}


@dataclasses.dataclass
class DetectorCard:
    """The description in a detector's file, from which it is rebuilt and its pictures prepared.

    Attributes:
        arch: section ``Arch`` of the configuration.
        density: section ``Density``.
        preprocess: the preprocessing contract.
        category: the product the detector was made for.
        calibration: how the threshold was found.
        protocol: seed, steps, selection and the like, as they go into the results.
        score: section ``Score``.
        localize: section ``Localize``; None for a detector without maps.
        tiling: section ``Tiling``; None for a detector that sees pictures as a whole.
        pixel_calibration: how the pixel threshold was found.
        settings: values of the configuration that made it, by dotted key
            (:func:`ppcls_sspcab.config.settled.settled_values`).
        version: the same in all files that are made of the detector; see
            :func:`ppcls_sspcab.detector.file.version_of`.
        trained_on: contents (:func:`ppcls_sspcab.image.content.contents_of`) of the pictures that
            trained the network.
        fitted_to: those of further pictures that the density was fitted to, or that chose or
            scaled the image score.
    """

    arch: dict[str, Any]
    density: dict[str, Any]
    preprocess: Preprocess
    category: str
    calibration: Calibration | None = None
    protocol: dict[str, Any] = dataclasses.field(default_factory=dict)
    score: dict[str, Any] = dataclasses.field(default_factory=lambda: dict(DEFAULT_SCORE))
    localize: dict[str, Any] | None = None
    tiling: dict[str, Any] | None = None
    pixel_calibration: Calibration | None = None
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    version: str = ""
    trained_on: list[str] = dataclasses.field(default_factory=list)
    fitted_to: list[str] = dataclasses.field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON takes them."""
        return {
            "format": FORMAT,
            "ppcls_sspcab": __version__,
            "paddle": paddle.__version__,
            "version": self.version,
            "category": self.category,
            "preprocess": self.preprocess.to_dict(),
            "calibration": _plain(self.calibration),
            "pixel_calibration": _plain(self.pixel_calibration),
            "arch": self.arch,
            "density": self.density,
            "score": self.score,
            "localize": self.localize,
            "tiling": self.tiling,
            "protocol": self.protocol,
            "settings": self.settings,
            "trained_on": self.trained_on,
            "fitted_to": self.fitted_to,
        }

    @classmethod
    def from_json(cls, text: str, path: str | os.PathLike[str]) -> DetectorCard:
        """The reverse of :meth:`to_dict`, from JSON.

        Raises:
            ModelError: a card of another format, or one that lacks something.
        """
        try:
            card = json.loads(text)
            if card["format"] != FORMAT:
                raise ValueError(f"format {card['format']!r}; this version reads {FORMAT}")
            values = {field.name: card[field.name] for field in dataclasses.fields(cls)}
            values["preprocess"] = Preprocess.from_dict(values["preprocess"])
            for name in ("calibration", "pixel_calibration"):
                values[name] = _calibration(values[name], f"card.{name}")
            check_arguments(cls, values, "card")
            return cls(**values)
        except (KeyError, TypeError, ValueError, RecursionError, UserError) as error:
            raise ModelError(f"{path}: damaged description: {error}") from error


def _calibration(values: dict[str, Any] | None, key: str) -> Calibration | None:
    if values is None:
        return None
    check_type(values, dict[str, Any], key)
    check_arguments(Calibration, values, key)
    if not values["scale"] > 0:
        raise ValueError(f"{key}.scale must be above 0, not {values['scale']}")
    return Calibration(**values)


def _plain(calibration: Calibration | None) -> dict[str, Any] | None:
    return dataclasses.asdict(calibration) if calibration else None
