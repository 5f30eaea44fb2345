"""A detector's file: weights, fitted arrays, thresholds, and the card in the header."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ppcls_sspcab.detector.build import build_detector
from ppcls_sspcab.detector.card import DetectorCard
from ppcls_sspcab.detector.detector import Detector
from ppcls_sspcab.detector.fitted import fitted_arrays, load_fitted_arrays
from ppcls_sspcab.errors import ConfigError, ModelError
from ppcls_sspcab.registry import ARCHITECTURES, UnknownName
from ppcls_sspcab.utils.files import atomic_write
from ppcls_sspcab.utils.weights import (
    load_into,
    part_of,
    read_safetensors,
    write_safetensors,
)


def write_detector(detector: Detector, path: str | os.PathLike[str]) -> None:
    """Writes ``path`` (safetensors, the card in its header) and a readable ``.json`` beside.

    The safetensors file is complete by itself; the JSON is a copy of the card to read.
    """
    text = json.dumps(detector.card.to_dict(), indent=2, ensure_ascii=False)
    write_safetensors(path, _arrays(detector), {"detector": text})
    atomic_write(Path(path).with_suffix(".json"), text + "\n")


def version_of(detector: Detector) -> str:
    """Twelve digits that follow from the weights, what is fitted and the thresholds."""
    digest = hashlib.sha256()
    for name, value in sorted(_arrays(detector).items()):
        digest.update(f"{name} {value.dtype} {value.shape} ".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()[:12]


def _arrays(detector: Detector) -> dict[str, np.ndarray]:
    network = detector.network.state_dict()
    arrays = {f"network.{name}": value.numpy() for name, value in network.items()}
    arrays |= fitted_arrays(detector)
    return arrays | {name: getattr(detector, name).numpy() for name in detector.calibrated_names}


def read_detector_card(path: str | os.PathLike[str]) -> DetectorCard:
    """The card of what :func:`write_detector` wrote.

    Raises:
        ModelError: a missing, damaged or foreign file.
    """
    return _read(path)[0]


def _read(path: str | os.PathLike[str]) -> tuple[DetectorCard, dict[str, np.ndarray]]:
    if not Path(path).is_file():
        raise ModelError(f"{path}: no such file; 'train' writes it")
    arrays, texts = read_safetensors(path)
    if "detector" not in texts:
        raise ModelError(f"{path}: holds weights but no detector; give a detector.safetensors")
    return DetectorCard.from_json(texts["detector"], path), arrays


def load_detector(path: str | os.PathLike[str]) -> Detector:
    """Reads what :func:`write_detector` wrote; the detector comes in evaluation mode.

    Raises:
        ModelError: a missing, damaged or foreign file.
    """
    card, arrays = _read(path)
    _require_finite(arrays, path)
    detector = _unfitted(card, arrays, path)
    for name in detector.calibrated_names:
        getattr(detector, name).set_value(_calibrated(name, arrays, path))
    fitted = ("image_score.", "localizer.")
    load_fitted_arrays(
        detector, {name: value for name, value in arrays.items() if name.startswith(fitted)}
    )
    detector.card = card
    return detector


def _require_finite(arrays: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> None:
    """Raises ModelError for NaN and infinities, with which every picture gets the same score."""
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ModelError(f"{path}: the array {name!r} holds values that are no numbers")


def _calibrated(
    name: str, arrays: Mapping[str, np.ndarray], path: str | os.PathLike[str]
) -> np.ndarray:
    """A threshold or a scale as it was written; raises ModelError for anything else."""
    array = arrays.get(name)
    if array is None or array.shape != () or array.dtype != np.float32:
        raise ModelError(f"{path}: the array {name!r} is missing or damaged: not one float32")
    if name.endswith("scale") and not array > 0:
        raise ModelError(f"{path}: {name} must be above 0, not {array}")
    return array


def _unfitted(
    card: DetectorCard, arrays: dict[str, np.ndarray], path: str | os.PathLike[str]
) -> Detector:
    """The detector that a card describes, with its network's weights."""
    try:
        network = ARCHITECTURES.build(without_weights(card.arch), "Arch")
        report = load_into(network, part_of(arrays, "network."), str(path))
        if report.missing or report.unexpected:
            raise ModelError(f"{path}: does not fit its own description: {report.summary()}")
        return build_detector(
            network,
            card.preprocess.image_size,
            card.density,
            card.score,
            card.localize,
            card.tiling,
        )
    except UnknownName as error:
        raise ModelError(
            f"{path}: {error.what}: if it is a plug-in, name its module in Global.plugins"
        ) from error
    except ConfigError as error:
        raise ModelError(f"{path}: its description cannot be built: {error}") from error


def without_weights(arch: Mapping[str, Any]) -> dict[str, Any]:
    """A section ``Arch`` that neither reads nor fetches a file: its weights are in the detector."""
    plain = {**arch, "pretrained": False} if "pretrained" in arch else dict(arch)
    if isinstance(arch.get("Backbone"), Mapping) and "pretrained" in arch["Backbone"]:
        plain["Backbone"] = {**arch["Backbone"], "pretrained": False}
    return plain
