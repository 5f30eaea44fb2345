"""The verbs of the command line as functions: ``import ppcls_sspcab as ad; ad.train(...)``.

Each runs the same engine as the command line, with the same files below ``Global.output_dir``.
Nothing here restarts the process, so the environment in which Paddle is fastest on a CPU
(:mod:`ppcls_sspcab.utils.launcher`) is the caller's to set before Paddle is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.errors import UserError
from ppcls_sspcab.utils.paddle_import import import_paddle

if TYPE_CHECKING:
    from ppcls_sspcab.detector.detector import Detector
    from ppcls_sspcab.engine.engine import Engine, Mode
    from ppcls_sspcab.evaluation.results import Results

Source = str | os.PathLike[str] | Mapping[str, Any] | Config
Overrides = Mapping[str, Any] | Sequence[str]
T = TypeVar("T")


def train(config: Source, overrides: Overrides = ()) -> Detector | list[Detector]:
    """Trains, fits and calibrates a detector, and writes it to ``<output_dir>/<category>/``.

    Args:
        config: a YAML file, a mapping of sections, or what :func:`load_config` returned.
        overrides: ``{"Global.seed": 1}``, or texts as on the command line, ``["Global.seed=1"]``.

    Returns:
        the detector, read from its file; with ``Global.category: all`` a list of them, in the
        order of the categories.

    Raises:
        UserError: a wrong configuration, missing or unreadable pictures, a training that diverged.
    """
    loaded = load_config(config, overrides)
    paths = open_engine(loaded, "train").train()
    return _one_or_all(loaded, [load_detector(path) for path in paths])


def evaluate(
    config: Source,
    overrides: Overrides = (),
    *,
    detector: Detector | str | os.PathLike[str] | None = None,
    report: bool = False,
    threshold: float | None = None,
) -> Results | list[Results]:
    """Measures a detector on the test pictures; writes and prints ``results.md``, draws plots.

    Args:
        config, overrides: as of :func:`train`; name the data set.
        detector: a detector or its file, instead of the one that training has written.
        report: also write ``report.html``, with all test pictures.
        threshold: instead of the calibrated one, in the unit of the scores.

    Returns:
        the results; with ``Global.category: all`` a list of them, in the order of the categories.

    Raises:
        UserError: a wrong configuration, no test pictures, no trained detector.
    """
    loaded = load_config(config, overrides)
    engine = open_engine(loaded, "eval")
    if isinstance(detector, (str, os.PathLike)):
        detector = load_detector(detector)
    return _one_or_all(loaded, engine.eval(report, detector, threshold))


def load_detector(path: str | os.PathLike[str]) -> Detector:
    """Reads a detector that :func:`train` wrote, in evaluation mode.

    Args:
        path: ``detector.safetensors``, complete by itself. Modules that register classes of your
            own, which it was made with, must have been imported.

    Raises:
        ModelError: a missing, damaged or foreign file.
    """
    import_paddle()
    from ppcls_sspcab.detector import file

    return file.load_detector(path)


def export(
    source: Source | Detector,
    overrides: Overrides = (),
    *,
    folder: str | os.PathLike[str] | None = None,
    formats: Sequence[str] = ("paddle",),
    input_type: Literal["float32", "uint8"] = "float32",
    int8_max_drop: float | None = None,
) -> Path | list[Path]:
    """Writes a detector for Paddle Inference and ONNX Runtime, and verifies what it wrote.

    Args:
        source: a detector; or a configuration, as of :func:`train`, whose detector is taken.
        overrides: of a configuration.
        folder: replaced as a whole; default, for a configuration,
            ``<output_dir>/<category>/inference``.
        formats: of ``paddle`` and ``onnx``.
        input_type: what the exported graph takes: ``float32`` normalised [N, 3, h, w], or
            ``uint8`` RGB [N, h, w, 3].
        int8_max_drop: given, also in INT8, which may cost so many points of AUROC on synthetic
            defects; needs the good pictures of a configuration.

    Returns:
        the folder; with ``Global.category: all`` a list of them, in the order of the categories.

    Raises:
        UserError: a wrong configuration or format, no trained detector, or an export whose
            numbers differ from the detector's.
    """
    if not isinstance(source, (str, os.PathLike, Mapping, Config)):
        return _export_detector(source, folder, formats, input_type, int8_max_drop)
    loaded = load_config(source, overrides)
    if folder is not None:
        loaded = loaded.with_values(save_inference_dir=os.fspath(folder))
    folders = open_engine(loaded, "export").export(formats, input_type, int8_max_drop)
    return _one_or_all(loaded, folders)


def open_engine(config: Config, mode: Mode) -> Engine:
    """The engine that ``Global.engine`` names, for one verb.

    Raises:
        UserError: no Paddle is installed, or what :class:`Engine` refuses.
    """
    import_paddle()
    if config.Global.engine == "paddleclas":
        from ppcls_sspcab.integrations.paddleclas.engine import PaddleClasEngine

        return PaddleClasEngine(config, mode)
    from ppcls_sspcab.engine.engine import Engine

    return Engine(config, mode)


def _export_detector(
    detector: Detector,
    folder: str | os.PathLike[str] | None,
    formats: Sequence[str],
    input_type: Literal["float32", "uint8"],
    int8_max_drop: float | None,
) -> Path:
    if folder is None:
        raise UserError("exporting a detector needs the folder to write to: give folder=")
    if int8_max_drop is not None:
        raise UserError("INT8 needs good pictures: export by the configuration, not the detector")
    from ppcls_sspcab.exporting.export import export_detector

    return export_detector(detector, detector.card, folder, formats, input_type)


def _one_or_all(config: Config, found: list[T]) -> T | list[T]:
    return found if config.Global.category == "all" else found[0]
