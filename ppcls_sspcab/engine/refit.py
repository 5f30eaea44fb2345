"""More good pictures for a trained detector: density and threshold anew, the weights stay."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.config.settled import FITTED, TRAINED, of_sections, refuse_settled, settled_values
from ppcls_sspcab.data.build import GoodPictures, build_dataset, good_pictures
from ppcls_sspcab.data.samples import Sample
from ppcls_sspcab.detector.build import build_threshold, unfitted_detector
from ppcls_sspcab.detector.card import DetectorCard
from ppcls_sspcab.detector.detector import Detector
from ppcls_sspcab.detector.file import load_detector, version_of, write_detector
from ppcls_sspcab.detector.threshold.doubts import warn_of_doubts
from ppcls_sspcab.engine.compare import alarms_before_and_after, tested_groups
from ppcls_sspcab.engine.hold import held
from ppcls_sspcab.errors import ConfigError, DataError
from ppcls_sspcab.exporting.export import export_detector
from ppcls_sspcab.exporting.quantize import MAX_DROP, int8_settings
from ppcls_sspcab.fitting.fit import FittedDetector, fit_detector
from ppcls_sspcab.fitting.save import fit_protocol, fitted_sections
from ppcls_sspcab.fitting.versions import forget_derived, keep_previous
from ppcls_sspcab.image.content import contents_of
from ppcls_sspcab.image.sources import find_pictures
from ppcls_sspcab.paths import CARD_FILE, INT8_FILE, ONNX_FILE
from ppcls_sspcab.runtime.card import InferenceCard
from ppcls_sspcab.utils.logger import get_logger

# Fewer pictures say too little of what is good to stand alone.
LEAST_ALONE = 10


def refit(config: Config, good: str, only: bool = False) -> Path:
    """Fits a trained detector to its old and new good pictures, and exports it as it was exported.

    Sections ``Density``, ``Score``, ``Localize``, ``Threshold`` and ``Tolerance`` of the
    configuration hold, so another density or image score takes no training either. What old and
    new detector say to the held-out and the test pictures goes into the log and the protocol. The
    old detector and its export are kept in ``versions/``. The new one is written after the export:
    where that fails, both stay as they were.

    Args:
        config: of one category; its data set has the old good pictures.
        good: folder, file, glob or ``.txt`` list of good pictures; part of all is held out for
            the threshold.
        only: fits to the new pictures alone; at least ``LEAST_ALONE`` of them are needed.

    Returns:
        the folder of the exported model.

    Raises:
        ConfigError: the category ``all``, or another preprocessing than the network's.
        DataError: too few pictures, one that cannot be read, or the old ones are not there.
        ModelError: no trained detector, or an export that cannot be verified.
    """
    if config.Global.category == "all":
        raise ConfigError("Global.category", "refitting needs one category, not 'all'")
    with held(config.folder.root):
        return _refit(config, good, only)


def _refit(config: Config, good: str, only: bool) -> Path:
    before = load_detector(config.detector_to_use)
    card = before.card
    wanted = config.Preprocess
    if wanted.white == "auto":
        wanted = dataclasses.replace(wanted, white=card.preprocess.white)
    with config.naming_files():
        if wanted != card.preprocess:
            raise ConfigError("Preprocess", "is not what the detector's network was trained with")
        refuse_settled(config, card.settings, TRAINED)
    new, sources = _listed(find_pictures([good])), [str(Path(good).absolute())]
    old = [] if only else _old_pictures(config, card)
    if only and len({*contents_of([sample.path for sample in new])}) < LEAST_ALONE:
        raise DataError(
            f"{good}: fewer than {LEAST_ALONE} different pictures: leave out --only, which forgets "
            "the old good ones, or give more"
        )
    if not only:
        sources = [*_earlier_sources(card), *sources]
    pictures = good_pictures(config, [*old, *new], card.preprocess, card.trained_on)
    with config.naming_files():
        unfitted = unfitted_detector(config, before.network)
        fitted = fit_detector(unfitted, build_threshold(config), config, pictures)
    after = fitted.detector
    groups = _held_out_groups(pictures, {sample.path for sample in new})
    compared = alarms_before_and_after(before, after, config, groups | tested_groups(config))
    after.card = dataclasses.replace(
        card,
        **fitted_sections(fitted, config, card.trained_on),
        settings={**of_sections(card.settings, TRAINED), **settled_values(config, FITTED)},
        version=version_of(after),
        protocol={
            **card.protocol,
            **fit_protocol(fitted, config, pictures),
            "refitted_to": {"good": sources, "old": len(old), "new": len(new)},
            "refit_called_anomalies": compared,
        },
    )
    return _write(after, fitted, config, pictures)


def _write(
    detector: Detector, fitted: FittedDetector, config: Config, pictures: GoodPictures
) -> Path:
    folder = config.folder
    if not config.Global.overwrite:
        keep_previous(folder, config.inference_folder, detector.card.version)
    exported = _export(detector, config, pictures)
    write_detector(detector, folder.detector)
    forget_derived(folder, detector.card.version)
    get_logger().info(
        f"{config.Global.category}: fitted to {len(pictures.train)} good pictures, "
        f"{len(pictures.held_out or ())} held out; threshold {fitted.calibration.threshold:.5f} "
        f"({fitted.calibration.note}); exported to {exported}"
    )
    warn_of_doubts(config.Global.category, fitted.calibration, fitted.apart)
    return exported


def _old_pictures(config: Config, card: DetectorCard) -> list[Sample]:
    """Those of the data set, and those of earlier refits.

    Raises:
        DataError: none of the pictures that the detector was made from is among them.
    """
    found = _of_refits(card)
    reason = "other pictures lie there"
    try:
        found = [*build_dataset(config).train, *found]
    except DataError as error:
        reason = str(error)
    known = {*card.trained_on, *card.fitted_to}
    gone = known.difference(contents_of([sample.path for sample in found]))
    if known and len(gone) == len(known):
        raise DataError(
            f"refitting keeps the old good pictures, and none of them is found: {reason}; name "
            "Global.data_root, or forget them with --only"
        )
    if gone:
        get_logger().warning(
            f"{config.Global.category}: {len(gone)} of {len(known)} pictures that the detector was "
            "made from are not found any more, so it forgets them"
        )
    return found


def pictures_of(config: Config, card: DetectorCard) -> GoodPictures:
    """The good pictures that a detector was fitted to and calibrated on, refits included."""
    found = _of_refits(card)
    if card.protocol.get("refitted_to", {}).get("old") != 0:
        found = [*build_dataset(config).train, *found]
    return good_pictures(config, found, card.preprocess, card.trained_on)


def _of_refits(card: DetectorCard) -> list[Sample]:
    """Those that earlier refits were given, and that are still there."""
    found: list[Sample] = []
    for source in _earlier_sources(card):
        with suppress(DataError):
            found += _listed(find_pictures([source]))
    return found


def _earlier_sources(card: DetectorCard) -> list[str]:
    """What earlier refits were given."""
    return [str(source) for source in card.protocol.get("refitted_to", {}).get("good", ())]


def _listed(paths: Sequence[str]) -> list[Sample]:
    return [Sample(path, 0, "good", None, "train") for path in paths]


def _held_out_groups(pictures: GoodPictures, new: set[str]) -> dict[str, list[Sample]]:
    """The held-out pictures, old and new ones."""
    held_out = pictures.held_out.samples if pictures.held_out is not None else []
    return {
        "old good pictures held out": [item for item in held_out if item.path not in new],
        "new good pictures held out": [item for item in held_out if item.path in new],
    }


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
        assert detector.card.calibration is not None, "it was fitted just now"
        int8 = int8_settings(config, pictures, detector.card.calibration, max_drop)
    return export_detector(detector, detector.card, folder, formats, old.input_type, int8=int8)
