"""Exporting the detector of one category."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.config.settled import refuse_settled
from ppcls_sspcab.detector.file import load_detector
from ppcls_sspcab.engine.hold import held
from ppcls_sspcab.engine.refit import pictures_of
from ppcls_sspcab.errors import ModelError
from ppcls_sspcab.exporting.export import export_detector
from ppcls_sspcab.exporting.quantize import int8_settings
from ppcls_sspcab.fitting.versions import warn_of_mixture
from ppcls_sspcab.paths import CARD_FILE
from ppcls_sspcab.runtime.card import InferenceCard
from ppcls_sspcab.utils.logger import get_logger


def export_category(
    config: Config,
    folder: Path,
    formats: Sequence[str],
    input_type: Literal["float32", "uint8"],
    int8_max_drop: float | None,
) -> None:
    """Writes a detector for the runtimes, verified; see :meth:`Engine.export`.

    Args:
        folder: what is replaced by the export.
    """
    detector = load_detector(config.detector_to_use)
    warn_of_mixture(config.folder, folder, detector.card, but=folder / CARD_FILE)
    card, int8 = detector.card, None
    refuse_settled(config, card.settings)
    if int8_max_drop is not None:
        if card.calibration is None:
            raise ModelError(f"{config.detector_to_use}: has no threshold yet: train it again")
        int8 = int8_settings(config, pictures_of(config, card), card.calibration, int8_max_drop)
    with nullcontext() if config.Global.save_inference_dir else held(folder.parent):
        export_detector(detector, card, folder, formats, input_type, int8=int8)
    get_logger().info(f"exported {config.Global.category} to {folder}")
    if refused := InferenceCard.read(folder).refused:
        raise ModelError(f"{folder} was exported without INT8: {refused}")
