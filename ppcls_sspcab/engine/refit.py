"""New good pictures for a trained detector: density and threshold anew, the weights as they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.config.settled import FITTED, TRAINED, refuse_settled, settled_values
from ppcls_sspcab.data.build import GoodPictures, good_pictures
from ppcls_sspcab.data.samples import Sample
from ppcls_sspcab.data.split import evenly_spread
from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.data.synthetic import MAX_SPOILT
from ppcls_sspcab.detector.build import build_threshold, unfitted_detector
from ppcls_sspcab.detector.detector import Detector
from ppcls_sspcab.detector.file import load_detector, write_detector
from ppcls_sspcab.detector.threshold.doubts import warn_of_doubts
from ppcls_sspcab.engine.hold import held
from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.exporting.export import export_detector
from ppcls_sspcab.exporting.quantize import MAX_DROP, Int8Settings
from ppcls_sspcab.fitting.fit import fit_detector
from ppcls_sspcab.fitting.save import fit_protocol, fitted_sections
from ppcls_sspcab.image.sources import find_pictures
from ppcls_sspcab.paths import CARD_FILE, INT8_FILE, ONNX_FILE
from ppcls_sspcab.runtime.card import InferenceCard
from ppcls_sspcab.utils.logger import get_logger


def refit(config: Config, good: str) -> Path:
    """Fits a trained detector to other good pictures and exports it as it was exported before.

    Sections ``Density``, ``Score``, ``Localize`` and ``Threshold`` of the configuration hold, so
    another density or image score takes no training either. The detector is written after the
    export: where the export fails, both stay as they were.

    Args:
        config: of one category.
        good: folder, file, glob or ``.txt`` list of good pictures; part of them is held out for
            the threshold.

    Returns:
        the folder of the exported model.

    Raises:
        ConfigError: the category ``all``, or another preprocessing than the network's.
        DataError: too few pictures, or one that cannot be read.
        ModelError: no trained detector, or an export that cannot be verified.
    """
    if config.Global.category == "all":
        raise ConfigError("Global.category", "refitting needs one category, not 'all'")
    with held(config.folder.root):
        return _refit(config, good)


def _refit(config: Config, good: str) -> Path:
    detector = load_detector(config.detector_to_use)
    card = detector.card
    if config.Preprocess != card.preprocess:
        raise ConfigError("Preprocess", "is not what the detector's network was trained with")
    refuse_settled(config, card.settings, TRAINED)
    samples = [Sample(path, 0, "good", None, "train") for path in find_pictures([good])]
    pictures = good_pictures(config, samples, card.trained_on)
    with config.naming_files():
        unfitted = unfitted_detector(config, detector.network)
        fitted = fit_detector(unfitted, build_threshold(config), config, pictures)
    new = fitted.detector
    new.card = dataclasses.replace(
        card,
        **fitted_sections(fitted, config, card.trained_on),
        settings={**_of(card.settings, TRAINED), **settled_values(config, FITTED)},
        protocol={
            **card.protocol,
            **fit_protocol(fitted, config, pictures),
            "refitted_to": {"good": good, "pictures": len(samples)},
        },
    )
    folder = _export(new, config, pictures)
    write_detector(new, config.folder.detector)
    get_logger().info(
        f"{config.Global.category}: fitted to {len(pictures.train)} good pictures of {good}; "
        f"threshold {fitted.calibration.threshold:.5f} ({fitted.calibration.note}); exported to "
        f"{folder}"
    )
    warn_of_doubts(config.Global.category, fitted.calibration, fitted.apart)
    return folder


def _of(settings: Mapping[str, Any], sections: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key.split(".")[0] in sections}


def _export(detector: Detector, config: Config, pictures: GoodPictures) -> Path:
    """Into the usual folder, in the formats that it holds now; Paddle's where there is none."""
    folder = config.inference_folder
    if not (folder / CARD_FILE).is_file():
        return export_detector(detector, detector.card, folder)
    old = InferenceCard.read(folder)
    formats = ["paddle", "onnx"] if ONNX_FILE in old.files else ["paddle"]
    int8 = None
    if INT8_FILE in old.files:
        max_drop = old.verification.get("int8", {}).get("max_drop", MAX_DROP)
        good, held_out = _stack(pictures.train), _stack(pictures.held_out or pictures.train)
        int8 = Int8Settings(good, held_out, max_drop, config.Global.seed)
    return export_detector(detector, detector.card, folder, formats, old.input_type, int8=int8)


def _stack(store: ImageStore) -> np.ndarray:
    return np.stack([store[index] for index in evenly_spread(len(store), MAX_SPOILT)])
