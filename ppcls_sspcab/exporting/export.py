"""From a Detector to one folder that Paddle Inference and ONNX Runtime run, verified by numbers."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import paddle
from paddle import nn

from ppcls_sspcab.arch.modes import evaluation_mode
from ppcls_sspcab.detector.card import DetectorCard
from ppcls_sspcab.detector.threshold.calibration import Calibration
from ppcls_sspcab.errors import ConfigError, ModelError, UserError, did_you_mean
from ppcls_sspcab.exporting.graph import DetectorGraph, save_paddle
from ppcls_sspcab.exporting.onnx import save_onnx
from ppcls_sspcab.exporting.quantize import (
    Int8Settings,
    Prepare,
    int8_report,
    quantize,
    summary,
)
from ppcls_sspcab.exporting.verify import eager_outputs, noise, verify
from ppcls_sspcab.paths import CARD_FILE, INT8_FILE, ONNX_FILE
from ppcls_sspcab.runtime.card import InferenceCard
from ppcls_sspcab.runtime.networks import has_openvino
from ppcls_sspcab.utils.files import atomic_folder, sha256_of
from ppcls_sspcab.utils.logger import get_logger
from ppcls_sspcab.version import __version__

FORMATS = ("paddle", "onnx")
_BESIDE_WEIGHTS = 1 << 16  # bytes of a program, at least

_FIRST_OUTPUTS = ("score", "normalized_score")


def export_detector(
    detector: nn.Layer,
    card: DetectorCard,
    folder: str | os.PathLike[str],
    formats: Sequence[str] = ("paddle",),
    input_type: Literal["float32", "uint8"] = "float32",
    int8: Int8Settings | None = None,
) -> Path:
    """Writes the whole detector for the runtimes that ``formats`` names; returns the folder.

    The folder holds ``inference.json`` and ``inference.pdiparams`` (Paddle Inference; always),
    ``model.onnx`` (opset 17), both for any batch size, ``model_int8.onnx`` if asked for, and
    ``inference.yml`` (:class:`~ppcls_sspcab.runtime.card.InferenceCard`). Every runtime's numbers
    are compared with the detector's own before the folder gets its name.

    Args:
        detector: ``forward(images float32 [N, 3, h, w])`` gives a dict with ``score`` [N] among
            its entries; buffers ``threshold`` and ``scale``; perhaps ``pictures_at_once``.
        card: what the detector was made from.
        folder: replaced as a whole; must be absent, empty or an earlier export. Of one of the same
            detector the threshold stays, if ``calibrate`` has set it.
        formats: of ``paddle`` and ``onnx``.
        input_type: ``float32`` normalised [N, 3, h, w], or ``uint8`` RGB [N, h, w, 3], which the
            graph normalises itself.
        int8: given, the ONNX model is also quantised and calibrated on its own scores; kept unless
            it loses more than allowed, of which ``verification.int8.refused`` tells.

    Raises:
        ConfigError: an unknown format, or ``int8`` without the format ``onnx``.
        ModelError: a detector without threshold, a runtime whose scores differ by more than 1e-3
            relative or are no numbers, or a folder that holds something else.
        UserError: the packages for ONNX are not installed.
    """
    target = Path(folder)
    _check_formats(formats, int8 is not None)
    _check_target(target)
    threshold, scale = float(detector.threshold), float(detector.scale)
    if not np.isfinite(threshold):
        raise ModelError("the detector has no threshold yet: calibrate it before the export")
    pixels = noise(card.preprocess)
    prepare = np.asarray if input_type == "uint8" else card.preprocess.normalize
    weights = sum(value.numpy().nbytes for value in detector.state_dict().values())
    with (
        evaluation_mode(detector),
        atomic_folder(target) as temporary,
        _room_for([weights] * (1 + len(set(formats) - {"paddle"})), temporary),
    ):
        expected = eager_outputs(detector, card.preprocess.normalize(pixels))
        outputs = [*_FIRST_OUTPUTS, *sorted(set(expected) - set(_FIRST_OUTPUTS))]
        graph = DetectorGraph(detector, outputs, card.preprocess if input_type == "uint8" else None)
        save_paddle(graph, card.preprocess, temporary)
        if "onnx" in formats:
            save_onnx(temporary, outputs)
        verification = verify(temporary, outputs, formats, prepare(pixels), expected, scale)
        precisions: dict[str, Any] = {}
        if int8 is not None:
            decision = Calibration(threshold, scale)
            verification["int8"], precisions = _save_int8(temporary, int8, decision, prepare)
        new = InferenceCard(
            category=card.category,
            input_type=input_type,
            preprocess=card.preprocess,
            outputs=outputs,
            threshold=threshold,
            scale=scale,
            pictures_at_once=getattr(detector, "pictures_at_once", 0),
            in_graph={"threshold": threshold, "scale": scale},
            precisions=precisions,
            files={file.name: sha256_of(file) for file in sorted(temporary.iterdir())},
            versions=_versions(formats),
            verification=verification,
            detector=card.to_dict(),
        )
        _as_calibrated(new, target).write(temporary)
    return target


def _as_calibrated(new: InferenceCard, target: Path) -> InferenceCard:
    """The card with the thresholds of an earlier export, where ``calibrate`` has set them."""
    try:
        earlier = InferenceCard.read(target)
    except ModelError:
        return new
    for precision in earlier.calibrated_since:
        found = earlier.judging(precision)
        what = f"{target}: the threshold {found['threshold']:.5f} ({precision})"
        if not new.version or earlier.version != new.version:
            get_logger().warning(
                f"{what}, which 'calibrate' has set, was for another detector and is gone: "
                "calibrate again"
            )
        elif precision in ("fp32", *new.precisions):
            source = earlier.precisions.get(precision, earlier.detector)
            new = new.calibrated(precision, source.get("calibration", {}), **found)
            get_logger().info(f"{what} stays, which 'calibrate' has set for this detector")
    return new


def _save_int8(
    folder: Path, settings: Int8Settings, decision: Calibration, prepare: Prepare
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What INT8 changes, and ``InferenceCard.precisions``, empty where it is refused."""
    path = folder / INT8_FILE
    quantize(folder / ONNX_FILE, path, settings.good, prepare)
    report, own = int8_report(folder / ONNX_FILE, path, settings, decision, prepare)
    if "refused" in report:
        path.unlink()
        get_logger().warning(f"{report['refused']}: exported without INT8")
        return report, {}
    get_logger().info(summary(report))
    judging = {"threshold": own.threshold, "scale": own.scale}
    entry = {**judging, "calibration": dataclasses.asdict(own), "at_export": judging}
    return report, {"int8": entry}


@contextmanager
def _room_for(sizes: Sequence[int], folder: Path) -> Iterator[None]:
    """Tells a full disk from a model that cannot be loaded, where a ModelError leaves the block.

    Paddle and paddle2onnx write a part of their files on a full disk and say nothing.

    Raises:
        OSError: the folder has no room for files of these bytes.
    """
    try:
        yield
    except ModelError:
        for file in folder.iterdir():
            file.unlink()
        for number, size in enumerate(sizes):
            with (folder / str(number)).open("wb") as probe:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(probe.fileno(), 0, size + _BESIDE_WEIGHTS)
        raise


def _check_formats(formats: Sequence[str], int8: bool) -> None:
    for name in formats:
        if name not in FORMATS:
            raise ConfigError("--format", f"unknown format {name!r}{did_you_mean(name, FORMATS)}")
    needed = ["onnx", "paddle2onnx", "onnxruntime"] if "onnx" in formats else []
    if int8:
        if not needed:
            raise ConfigError("--int8", "is for ONNX Runtime: add onnx to --format")
        needed.append("onnxruntime.quantization")
    for package in needed:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise UserError(
                f"the export needs {package} ({error}): pip install 'ppcls_sspcab[onnx]'"
            ) from error


def _check_target(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise ModelError(f"{target}: is a file; the export writes a folder")
    if target.is_dir() and any(target.iterdir()) and not (target / CARD_FILE).is_file():
        raise ModelError(
            f"{target}: holds other files, and the export replaces the whole folder; give another"
        )


def _versions(formats: Sequence[str]) -> dict[str, str]:
    versions = {"ppcls_sspcab": __version__, "paddle": paddle.__version__}
    for package in ("paddle2onnx", "onnxruntime", "openvino") if "onnx" in formats else ():
        if package != "openvino" or has_openvino():
            versions[package] = importlib.metadata.version(package)
    return versions
