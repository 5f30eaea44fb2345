"""``inference.yml``: how an exported model is to be fed and its scores judged."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from ppcls_sspcab.errors import ConfigError, ModelError
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.paths import CARD_FILE, INT8_FILE
from ppcls_sspcab.result import LARGEST
from ppcls_sspcab.utils.files import atomic_write
from ppcls_sspcab.utils.plain_yaml import read_yaml

INPUT_NAME = "images"

_FORMAT = 1
_MAPPINGS = ("in_graph", "precisions", "versions", "verification", "files", "detector")
_HEADER = "# Written by 'ppcls-sspcab export'; deploy/README.md explains each key.\n"


@dataclass(frozen=True)
class InferenceCard:
    """The description of an exported model.

    Attributes:
        category: the product that the detector was made for.
        input_type: ``float32``: the graph takes [N, 3, h, w], normalised by ``preprocess``;
            ``uint8``: it takes [N, h, w, 3] RGB and normalises itself. The input's name is
            ``images`` either way.
        preprocess: size, resize filter, mean and std.
        outputs: names of the graph's outputs, in its order.
        threshold: a picture is an anomaly if its score is above.
        scale: > 0; ``normalized_score = 0.5 + 0.5 * softsign((score - threshold) / scale)``.
        in_graph: ``threshold`` and ``scale`` of the graph's own output ``normalized_score``, which
            stay when ``calibrate`` changes those above: where they differ, that output is out of
            date and is computed from ``score``.
        precisions: of each reduced precision, such as ``int8``, the ``threshold`` and ``scale`` of
            its own scores, how they were found (``calibration``), and those ``at_export``.
        files: SHA-256 of every file of the export but this one.
        versions: of the packages that wrote it.
        verification: ``pictures``, ``worst_relative_difference`` of the score, by runtime, and
            what ``int8`` changes, if it was asked for.
        pictures_at_once: how many may run together in reasonable memory; 0 for any number.
        detector: how the detector was made: calibration, architecture, protocol.
    """

    category: str
    input_type: Literal["float32", "uint8"]
    preprocess: Preprocess
    outputs: Sequence[str]
    threshold: float
    scale: float
    files: Mapping[str, str]
    pictures_at_once: int = 0
    in_graph: Mapping[str, float] = field(default_factory=dict)
    precisions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    verification: Mapping[str, Any] = field(default_factory=dict)
    detector: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.category, str):
            raise ValueError(f"category must be a text, not {self.category!r}")
        names = self.outputs if isinstance(self.outputs, (list, tuple)) else ()
        texts = [name for name in names if isinstance(name, str)]
        if "score" not in texts or len(set(texts)) < len(names):
            raise ValueError(f"outputs must be a list of names with 'score', not {self.outputs!r}")
        for name in _MAPPINGS:
            if not isinstance(getattr(self, name), Mapping):
                raise ValueError(f"{name} must be a mapping, not {getattr(self, name)!r}")
        for name, value in self.files.items():
            if not (isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value)):
                raise ValueError(f"files: {name} must be a SHA-256, not {value!r}")
        for name in ("trained_on", "fitted_to"):
            if not isinstance(self.detector.get(name, []), list):
                raise ValueError(f"detector.{name} must be a list")
        if self.input_type not in ("float32", "uint8"):
            raise ValueError(f"input_type must be float32 or uint8, not {self.input_type!r}")
        for key, number in _judging("", vars(self)).items():
            object.__setattr__(self, key, number)
        for name, entry in self.precisions.items():
            _judging(f"precisions.{name}.", entry)
        if type(self.pictures_at_once) is not int or self.pictures_at_once < 0:
            raise ValueError(
                f"pictures_at_once must be a whole number of 0 or more, not {self.pictures_at_once}"
            )

    @property
    def pixels_shape(self) -> tuple[int, ...]:
        """Shape of the graph's input for one picture, without the batch axis."""
        height, width = self.preprocess.image_size
        return (height, width, 3) if self.input_type == "uint8" else (3, height, width)

    @property
    def version(self) -> str:
        """Of the detector that was exported; "" where it is not known."""
        return str(self.detector.get("version", ""))

    def judging(self, precision: str) -> dict[str, float]:
        """``threshold`` and ``scale`` of a precision's scores; those of ``fp32`` where it has none.

        Args:
            precision: ``fp32`` or one of ``precisions``.
        """
        return _judging("", self.precisions.get(precision, vars(self)))

    def calibrated(
        self, precision: str, calibration: Mapping[str, Any], threshold: float, scale: float
    ) -> InferenceCard:
        """The card with another threshold and scale of a precision's scores."""
        if precision in self.precisions:
            found = {"threshold": threshold, "scale": scale, "calibration": calibration}
            entry = {**self.precisions[precision], **found}
            return replace(self, precisions={**self.precisions, precision: entry})
        detector = {**self.detector, "calibration": calibration}
        return replace(self, threshold=threshold, scale=scale, detector=detector)

    @property
    def refused(self) -> str:
        """Why the INT8 model that was asked for is not there; "" where it is, or nobody asked."""
        found = self.verification.get("int8")
        return str(found.get("refused", "")) if isinstance(found, Mapping) else ""

    @property
    def calibrated_since(self) -> list[str]:
        """The precisions whose threshold ``calibrate`` has set after the export."""
        exported: dict[str, Any] = {"fp32": self.in_graph} if self.in_graph else {}
        exported |= {name: entry.get("at_export") for name, entry in self.precisions.items()}
        return [name for name, at_export in exported.items() if at_export != self.judging(name)]

    @property
    def made_from(self) -> list[str]:
        """Contents of the pictures that trained the network, or that anything was fitted to."""
        return [*self.detector.get("trained_on", ()), *self.detector.get("fitted_to", ())]

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Writes ``inference.yml`` into the folder, whole or not at all."""
        content = {
            "format": _FORMAT,
            "category": self.category,
            "input": {
                "name": INPUT_NAME,
                "type": self.input_type,
                "shape": f"[N, {', '.join(map(str, self.pixels_shape))}]",
                "colour_order": "RGB",
            },
            "preprocess": self.preprocess.to_dict(),
            "outputs": list(self.outputs),
            "threshold": self.threshold,
            "scale": self.scale,
            "pictures_at_once": self.pictures_at_once,
            **{name: dict(getattr(self, name)) for name in _MAPPINGS},
        }
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
        atomic_write(Path(folder) / CARD_FILE, _HEADER + text)

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> InferenceCard:
        """Reads ``inference.yml`` of an exported model.

        Raises:
            ModelError: missing, damaged, or of another format.
        """
        path = Path(folder) / CARD_FILE
        if not path.is_file():
            raise ModelError(f"{folder}: no {CARD_FILE} there; give a folder that 'export' wrote")
        try:
            content = read_yaml(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: cannot be read: {error}") from error
        found = content.get("format") if isinstance(content, dict) else None
        if type(found) is not int or found != _FORMAT:
            raise ModelError(f"{path}: format {found!r}; this version reads format {_FORMAT}")
        try:
            values = {item.name: content[item.name] for item in fields(cls) if item.name in content}
            values["input_type"] = content["input"]["type"]
            values["preprocess"] = Preprocess.from_dict(content["preprocess"])
            return cls(**values)
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise ModelError(f"{path}: incomplete or wrong: {error}") from error

    def read_file(self, path: Path) -> bytes:
        """The content of one of the export's files.

        Raises:
            ModelError: the file is missing, was never exported, or has changed.
        """
        if path.name not in self.files:
            why = f": {self.refused}" if path.name == INT8_FILE and self.refused else ""
            raise ModelError(
                f"{path.parent}: was exported without {path.name}{why}; export again with that "
                "format"
            )
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise ModelError(f"{path}: missing; copy the whole exported folder") from error
        except OSError as error:
            raise ModelError(f"{path}: cannot be read: {error}") from error
        if hashlib.sha256(content).hexdigest() != self.files[path.name]:
            raise ModelError(
                f"{path}: is not the file that was exported (SHA-256 differs); copy it again, or "
                "load it again if the folder was being replaced"
            )
        return content


def _judging(where: str, entry: Mapping[str, Any]) -> dict[str, float]:
    """The threshold and scale of a mapping; a ValueError where one is missing or wrong."""
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where[:-1]} must be a mapping, not {entry!r}")
    found = {name: _number(where + name, entry.get(name)) for name in ("threshold", "scale")}
    if not found["scale"] > 0:
        raise ValueError(f"{where}scale must be above 0, not {found['scale']}")
    return found


def _number(name: str, value: object) -> float:
    """A finite number that float32, in which networks compute, holds; else a ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name} must be a number, not {value!r}")
    if not abs(value) <= LARGEST:
        raise ValueError(f"{name} must be a finite number of at most {LARGEST}")
    return float(value)
