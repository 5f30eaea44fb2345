"""One version in all files of a detector: an earlier one is kept, and what does not fit is said."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ppcls_sspcab.detector.card import DetectorCard
from ppcls_sspcab.detector.file import read_detector_card
from ppcls_sspcab.errors import ModelError
from ppcls_sspcab.paths import CARD_FILE, RunFolder
from ppcls_sspcab.runtime.card import InferenceCard
from ppcls_sspcab.utils.files import atomic_folder
from ppcls_sspcab.utils.logger import get_logger


def keep_previous(folder: RunFolder, inference: Path, version: str) -> Path | None:
    """Keeps the detector of a folder, and what was made of it, before another takes its place.

    The files are linked where the file system can, so that this takes no space.

    Args:
        inference: folder of the exported model.
        version: of the detector that is about to be written.

    Returns:
        ``versions/<time>-<version>``; None where there is no detector, or the same one.
    """
    try:
        old = read_detector_card(folder.detector).version
    except ModelError:
        return None
    if old == version:
        return None
    written = datetime.fromtimestamp(folder.detector.stat().st_mtime, timezone.utc)
    kept = folder.versions / f"{written:%Y%m%d-%H%M%S}-{old}"
    if kept.exists():
        return kept
    with atomic_folder(kept) as new:
        for path in (*folder.of_detector, inference):
            if path.is_dir():
                shutil.copytree(path, new / path.name, copy_function=_link)
            elif path.is_file():
                _link(path, new / path.name)
    get_logger().info(f"the earlier detector and what was made of it are kept in {kept}")
    return kept


def forget_derived(folder: RunFolder, version: str) -> None:
    """Removes what was made of another detector than that ``version``, which now lies there."""
    with suppress(ModelError):
        if InferenceCard.read(folder.inference).version != version:
            shutil.rmtree(folder.inference)
    if folder.results_json.is_file() and _results_version(folder) != version:
        for path in (folder.results_json, folder.results_csv, folder.results_md, folder.report):
            path.unlink(missing_ok=True)
        shutil.rmtree(folder.plots, ignore_errors=True)


def warn_of_mixture(
    folder: RunFolder, inference: Path, card: DetectorCard, but: Path | None = None
) -> None:
    """Says in the log which files of a folder are of another detector than ``card`` describes.

    Args:
        inference: folder of the exported model.
        but: a file that is about to be written anew.
    """
    others: dict[Path, str] = {}
    with suppress(OSError, ValueError, TypeError, KeyError):
        text = folder.detector.with_suffix(".json").read_text(encoding="utf-8")
        others[folder.detector.with_suffix(".json")] = json.loads(text)["version"]
    if folder.results_json.is_file():
        others[folder.results_json] = _results_version(folder)
    exported = None
    with suppress(ModelError):
        exported = InferenceCard.read(inference)
        others[inference / CARD_FILE] = exported.version
    for path, version in others.items():
        if version != card.version and path != but:
            get_logger().warning(
                f"{path}: is of the detector {version or 'of an unknown version'}, and "
                f"{folder.detector.name} is {card.version}: run 'export' or 'eval' again"
            )
    if exported is None or exported.version != card.version:
        return
    if "fp32" in exported.calibrated_since:
        get_logger().warning(
            f"{inference}: decides by the threshold {exported.threshold:.5g}, which 'calibrate' "
            f"set; {folder.detector.name} by {exported.in_graph['threshold']:.5g}"
        )


def _results_version(folder: RunFolder) -> str:
    with suppress(OSError, ValueError, TypeError, KeyError):
        found: dict[str, Any] = json.loads(folder.results_json.read_text(encoding="utf-8"))
        return str(found["protocol"]["detector_version"])
    return ""


def _link(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
